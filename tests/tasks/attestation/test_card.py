"""The model card is one that huggingface_hub reads, with the scores as evaluation results."""

from pathlib import Path

from huggingface_hub import ModelCard
from stated import evidence_of

from tasks.attestation.card import CARD, hub_card


def test_its_scores_are_evaluation_results_with_interval_and_slices(version: Path, tmp_path: Path) -> None:
    (tmp_path / CARD).write_text(hub_card(evidence_of(version / "model.onnx"), 4))
    card = ModelCard.load(tmp_path / CARD)
    whole, scanner = card.data.eval_results
    assert card.data.model_name == "digits" and card.data.library_name == "onnx"
    assert whole.task_type == "classification"
    assert (whole.metric_type, whole.metric_value, whole.dataset_split) == ("accuracy", 0.98, "test")
    assert whole.metric_args["interval"]["low"] == 0.96 and whole.dataset_revision == "f" * 64
    assert (scanner.dataset_config, scanner.metric_value) == ("scanner=old", 0.95)
    assert "digits, version 4: accuracy 0.9800" in card.text and "Training began with base.pt" in card.text
    assert "too few to judge" not in card.text.partition("scanner=old")[2].partition("\n")[0]
