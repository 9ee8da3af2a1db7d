"""The headings are the Regulation's words: Annex IV and Article 12 of Regulation (EU) 2024/1689, English, OJ L, 2024/1689, 12.7.2024."""

import pytest

from tasks.reporting.ai_act import HEADINGS

ANNEX_IV = """\
1. A general description of the AI system including:
2. A detailed description of the elements of the AI system and of the process for its development, including:
3. Detailed information about the monitoring, functioning and control of the AI system, in particular with regard to:
4. A description of the appropriateness of the performance metrics for the specific AI system;
5. A detailed description of the risk management system in accordance with Article 9;
6. A description of relevant changes made by the provider to the system through its lifecycle;
7. A list of the harmonised standards applied in full or in part the references of which have been published in the Official Journal of the European Union; where no such harmonised standards have been applied, a detailed description of the solutions adopted to meet the requirements set out in Chapter III, Section 2, including a list of other relevant standards and technical specifications applied;
8. A copy of the EU declaration of conformity referred to in Article 47;
9. A detailed description of the system in place to evaluate the AI system performance in the post-market phase in accordance with Article 72, including the post-market monitoring plan referred to in Article 72(3).
12. Record-keeping"""

PROVIDER = {
    "1": ("intended purpose", "name", "other AI systems", "updates", "placed on the market", "intended to run on", "product", "user interface", "instructions for use"),
    "2": ("general logic", "assumptions", "persons and groups", "trade-offs", "architecture", "obtained, selected, labelled and cleaned", "Article 14", "Article 13(3)(d)", "beforehand", "discriminatory impacts", "responsible persons", "cybersecurity"),
    "3": ("accuracy", "persons or groups", "unintended outcomes", "health and safety, fundamental rights and discrimination", "human oversight", "interpreted", "input data"),
    "12": ("Article 12(2)", "risk or a substantial modification", "provider", "deployer", "Article 12(3)"),
}  # fmt: skip
"""What the letters and clauses ask for that no machine knows."""


def test_headings_are_those_of_the_official_journal() -> None:
    official = [line.partition(". ")[::2] for line in ANNEX_IV.splitlines()]
    assert [heading.number for heading in HEADINGS] == [number for number, _ in official]
    for heading, (_, words) in zip(HEADINGS, official, strict=True):
        rest = words.removeprefix(heading.heading)
        assert rest in ("", ";", ".", " including:", ", including:", ", in particular with regard to:"), heading.number  # fmt: skip


@pytest.mark.parametrize("number", PROVIDER)
def test_what_only_the_provider_knows_is_said_to_be_left_out(number: str) -> None:
    said = next(heading.left_out for heading in HEADINGS if heading.number == number)
    assert [words for words in PROVIDER[number] if words not in said] == []
