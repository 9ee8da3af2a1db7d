"""The first page: what it says of models, that nothing in it is more than text, and that it is only for who has a key."""

import datetime
import html.parser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.serving.http.overview import POLICY, Shown, overview
from tasks.registry.status_tags import StatusTag, Subject

NOW = datetime.datetime(2026, 11, 27, 12, tzinfo=datetime.UTC)
SERVED: dict[str, Any] = {
    "version": "7", "digest": "ab" * 32, "evidence": "verified", "decided": "pass", "score": "accuracy 0.98 on 388 test rows",
    "refused": None, "registry_error": None, "since": NOW.timestamp() - 60, "requests": 0, "errors": 0, "p50_ms": None,
    "p99_ms": None, "rollout": None,
}  # fmt: skip
NOTHING = SERVED | {
    "version": None,
    "registry_error": "no champion yet: flights@champion serves as soon as the registry has it",
}
LINKS = {"Prefect": "http://127.0.0.1:4200", "MLflow": "http://127.0.0.1:5000"}


def tag(subject: Subject, said: str, hours: float = 3, **more: Any) -> StatusTag:
    at = NOW - datetime.timedelta(hours=hours)
    return StatusTag(model="digits", subject=subject, said=said, at=at, **more)


def page(*shown: Shown) -> str:
    return overview(shown, LINKS, NOW).decode()


class Parsed(html.parser.HTMLParser):
    """The elements of a page, what their attributes are, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def addresses(self) -> list[str | None]:
        return [attributes["href"] for name, attributes in self.elements if name == "a"]


def test_an_open_question_stands_first_with_its_age_and_one_that_is_over_does_not() -> None:
    asked = NOW + datetime.timedelta(days=6)
    form = "http://127.0.0.1:4200/runs/flow-run/1#answer"
    question = tag("question", "Promote digits version 8?", until=asked, pages={"prefect": form})
    read = Parsed(page(Shown("digits", SERVED, {"question": question})))
    assert (
        "1 waiting for an answer" in read.text and "Asked 3 h ago, open until 03 Dec, 12:00 UTC" in read.text
    )
    assert form in read.addresses
    answered = question.model_copy(update={"until": NOW - datetime.timedelta(seconds=1)})
    read = Parsed(page(Shown("digits", SERVED, {"question": answered})))
    assert "nobody is asked anything" in read.text and "Last question" in read.text


def test_what_flows_said_is_shown_with_its_age_and_what_serves_is_not_taken_for_another_version() -> None:
    statuses: dict[Subject, StatusTag] = {
        "run": tag("run", "unchanged: nothing new", hours=500),
        "traffic": tag("traffic", "v7 drifted: x (PSI 0.71)", tone="bad"),
        "champion": tag("champion", "by Ada: better", version=7),
    }
    read = Parsed(page(Shown("digits", SERVED, statuses)))
    assert "unchanged: nothing new (21 days ago)" in read.text and "v7 drifted: x (PSI 0.71)" in read.text
    assert "since 27 Nov 2026, 09:00 UTC (3 h ago), by Ada: better" in read.text
    other = Parsed(page(Shown("digits", SERVED | {"version": "6"}, statuses)))
    assert "by Ada" not in other.text and "Served here" in other.text


def test_links_lead_to_servers_as_whoever_reads_them_finds_them() -> None:
    pages = {
        "prefect": "http://prefect:4200/runs/flow-run/1#answer",
        "report": "https://mlflow:5000/#/runs/2?a=b",
    }
    read = Parsed(page(Shown("digits", SERVED, {"run": tag("run", "promoted v7", pages=pages)})))
    assert {f"{LINKS['Prefect']}/runs/flow-run/1#answer", f"{LINKS['MLflow']}/#/runs/2?a=b"} <= set(
        read.addresses
    )
    elsewhere = overview([Shown("digits", SERVED, {"run": tag("run", "promoted v7", pages=pages)})], {}, NOW)
    assert pages["prefect"] in Parsed(elsewhere.decode()).addresses


def test_models_without_anything_are_one_line_and_an_empty_home_says_what_to_do_first() -> None:
    read = Parsed(page(Shown("cells", NOTHING, {}), Shown("flights", NOTHING, {})))
    assert "First train a model" in read.text and "No champion yet: cells, flights." in read.text
    assert f"{LINKS['Prefect']}/deployments" in read.addresses


def test_a_first_run_that_failed_stands_there_without_a_champion_with_a_link_to_it() -> None:
    run = "http://127.0.0.1:4200/runs/flow-run/1"
    failed = tag("run", "failed: load() gave no rows.", tone="bad", pages={"prefect": run})
    read = Parsed(page(Shown("mine", NOTHING, {"run": failed})))
    assert "no champion yet" in read.text and "failed: load() gave no rows. (3 h ago)" in read.text
    assert run in read.addresses and "First train a model" not in read.text


@given(
    st.text(max_size=60),
    st.sampled_from(["javascript:alert(1)", "data:text/html,x", "http://[", "//x", '"><script>']),
)
def test_whatever_is_said_becomes_text_and_links_lead_to_web_pages_alone(said: str, address: str) -> None:
    said = f'<script>{said}</script>"><img src=x onerror=alert(1)>&lt;'
    statuses: dict[Subject, StatusTag] = {
        subject: tag(subject, said, version=7, until=NOW + datetime.timedelta(1) if subject == "question" else None, pages={"prefect": address})
        for subject in ("run", "traffic", "champion", "question")
    }  # fmt: skip
    served = SERVED | {"refused": {"version": said, "reason": said}, "score": said, "registry_error": said}
    read = Parsed(page(Shown(said, served, statuses), Shown(said, NOTHING | {"registry_error": said}, {})))
    names = {name for name, _ in read.elements}
    assert names <= {
        "html",
        "head",
        "meta",
        "title",
        "link",
        "style",
        "body",
        "main",
        "nav",
        "a",
        "h1",
        "h2",
        "p",
        "section",
        "div",
        "span",
        "dl",
        "dt",
        "dd",
        "time",
        "code",
    }
    kept = {key for _, attributes in read.elements for key in attributes}
    assert kept <= {"lang", "charset", "name", "content", "rel", "href", "class", "id", "datetime", "title"}
    assert all(
        address == "/live" or str(address).startswith("http://127.0.0.1") for address in read.addresses
    )


def test_the_policy_lets_no_script_run_and_nothing_be_loaded() -> None:
    assert (
        POLICY.startswith("default-src 'none'; style-src 'sha256-")
        and "unsafe" not in POLICY
        and "script" not in POLICY
    )
