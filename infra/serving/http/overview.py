"""The first page: every model that is followed here, what serves, how good it is, what became of the last run, and who is asked what.

Made anew for every request, of what the workers know and what flows say by signed tags: no scripts, nothing from elsewhere.
"""

import base64
import datetime
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infra.serving.http.html import Html, element, joined, link
from tasks.registry.status_tags import Statuses, StatusTag, Subject

STYLE = Path(__file__).with_name("overview.css").read_text()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "img-src data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)

NAMES = {"prefect": "the run in Prefect", "mlflow": "in MLflow", "report": "report"}

Row = tuple[str, str]

_ADDRESS = re.compile(r"(https?://[^/?#]+)")

_NONE = "no .* yet: "


class Shown(NamedTuple):
    """One model: what the server says of it (an entry of /status), and what flows say."""

    name: str
    served: Mapping[str, Any]
    statuses: Statuses

    @property
    def known(self) -> bool:
        """Whether there is anything to say of it, but that it has no champion yet."""
        return bool(self.served["version"] or self.statuses or self.served["refused"])


def overview(models: Sequence[Shown], links: Mapping[str, str], now: datetime.datetime) -> bytes:
    """The page as it is at this moment. `links`: where whoever reads it finds servers beside this one, by their names."""
    models = [shown._replace(statuses=_led_by(links, shown.statuses)) for shown in models]
    known = [shown for shown in models if shown.known]
    asked = [shown for shown in known if question(shown, now) is not None]
    live = element("a", "Try a model, live numbers", href="/live")
    body = [
        element("h1", "Models"),
        element("p", _summary(known, asked, now), class_="soft"),
        element("nav", *(link(name, address) for name, address in links.items()), live),
        *(_question(shown, now) for shown in asked),
        *(_card(shown, links, now) for shown in known),
        *(_first_steps(links) if not known else ()),
        *_waiting([shown for shown in models if not shown.known]),
    ]
    page = element(
        "html", element("head", _head(len(asked))), element("body", element("main", *body)), lang="en"
    )
    return f"<!doctype html>\n{page}\n".encode()


def _head(asked: int) -> Html:
    return joined(
        [
            Html(
                '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            ),
            element("title", f"({asked}) Slipway: models" if asked else "Slipway: models"),
            Html('<link rel="icon" href="data:,">'),
            element("style", Html(STYLE)),
        ]
    )


def question(shown: Shown, now: datetime.datetime) -> StatusTag | None:
    """What a person is asked about it, if that is still open."""
    tag = shown.statuses.get("question")
    return tag if tag is not None and tag.open(now) else None


def _led_by(links: Mapping[str, str], statuses: Statuses) -> Statuses:
    """Flows know servers by the names that they have among themselves."""
    hosts = {"prefect": links.get("Prefect"), "mlflow": links.get("MLflow"), "report": links.get("MLflow")}
    return {
        subject: tag.model_copy(
            update={"pages": {page: _at(hosts[page], address) for page, address in tag.pages.items()}}
        )
        for subject, tag in statuses.items()
    }


def _at(host: str | None, address: str) -> str:
    """The same page of another host; what is no address of a page stays as it is, and is no link."""
    match = _ADDRESS.match(address)
    own = _ADDRESS.match(host or "")
    return address if match is None or own is None else f"{own[1]}{address[match.end() :]}"


def _summary(known: list[Shown], asked: list[Shown], now: datetime.datetime) -> str:
    serving = sum(shown.served["version"] is not None for shown in known)
    said = [
        f"{serving} served",
        f"{len(asked)} waiting for an answer" if asked else "nobody is asked anything",
    ]
    return f"{', '.join(said)}. As of {now:%d %b %Y, %H:%M} UTC; reload for what is newer."


def _question(shown: Shown, now: datetime.datetime) -> str:
    tag = shown.statuses["question"]
    asked, mark, why = tag.said.partition("? ")
    until = "" if tag.until is None else f", open until {tag.until:%d %b, %H:%M} UTC"
    answer = [link("Answer it in Prefect", tag.pages["prefect"])] if "prefect" in tag.pages else []
    others = [link(NAMES[page], address) for page, address in tag.pages.items() if page != "prefect"]
    return element(
        "section",
        element("h2", asked + mark.rstrip()),
        *([element("p", why)] if why else ()),
        element("p", "Asked ", ago(tag.at, now), until, class_="soft"),
        element("p", *answer, *others, class_="links"),
        class_="card asks",
    )


def _card(shown: Shown, links: Mapping[str, str], now: datetime.datetime) -> str:
    served = shown.served
    version, tone = served["version"], "good"
    badge = f"version {version} serves"
    if version is None:
        badge = "no champion yet" if _has_none(served["registry_error"]) else "nothing serves yet"
        tone = "warn" if served["refused"] else "soft"
    rows = [*_champion(shown, links, now), *_events(shown, now), *_traffic(shown, now), *_rollout(served)]
    facts = (part for name, said in rows for part in (element("dt", name), element("dd", said)))
    top = element(
        "div", element("h2", shown.name), element("span", badge, class_=f"badge {tone}"), class_="top"
    )
    return element("section", top, element("dl", *facts), class_="card", id=shown.name)


def _champion(shown: Shown, links: Mapping[str, str], now: datetime.datetime) -> Iterator[Row]:
    served, tag = shown.served, shown.statuses.get("champion")
    if served["refused"]:
        yield (
            "Refused here",
            element(
                "span", f"version {served['refused']['version']}: {served['refused']['reason']}", class_="bad"
            ),
        )
    if served["version"] is None:
        return
    if served.get("score"):
        decided = {"pass": "the gate passed it", "inconclusive": "the gate was not sure"}.get(
            served["decided"], ""
        )
        yield "Score", ", ".join(filter(None, [served["score"], decided]))
    elif served["evidence"] != "verified":
        yield "Score", element("span", "not proved: it is served without evidence", class_="warn")
    if (engines := served.get("engines")) and engines["instead"]:
        yield "Engine", element("span", f"{engines['engine']}: {engines['instead']}", class_="warn")
    if tag is not None and str(tag.version) == served["version"]:
        yield (
            "Champion",
            joined([f"since {tag.at:%d %b %Y, %H:%M} UTC (", ago(tag.at, now), f"), {tag.said}"]),
        )
    elif served["since"]:
        yield (
            "Served here",
            joined(["since ", ago(datetime.datetime.fromtimestamp(served["since"], datetime.UTC), now)]),
        )
    yield from _read_on(shown, links)


def _read_on(shown: Shown, links: Mapping[str, str]) -> Iterator[Row]:
    served, tag = shown.served, shown.statuses.get("champion")
    pages = dict(tag.pages) if tag is not None and str(tag.version) == served["version"] else {}
    if served["version"].isdigit() and "MLflow" in links:
        pages.setdefault(
            "mlflow",
            f"{links['MLflow']}/#/models/{shown.name}/versions/{served['version']}?workflowType=machine_learning",
        )
    if pages:
        named = {
            "mlflow": f"Version {served['version']} in MLflow",
            "report": "Report of its proof",
            "prefect": "Its run in Prefect",
        }
        yield (
            "Read on",
            element("span", *(link(named[page], address) for page, address in pages.items()), class_="links"),
        )


def _events(shown: Shown, now: datetime.datetime) -> Iterator[Row]:
    """What flows said last, but for an open question, which stands above all."""
    names: dict[Subject, str] = {"run": "Last run", "traffic": "Drift", "question": "Last question"}
    for subject, name in names.items():
        tag = shown.statuses.get(subject)
        if tag is not None and not (subject == "question" and tag.open(now)):
            pages = (joined([" · ", link(NAMES[page], address)]) for page, address in tag.pages.items())
            yield (
                name,
                joined([element("span", tag.said, class_=tag.tone), " (", ago(tag.at, now), ")", *pages]),
            )


def _traffic(shown: Shown, now: datetime.datetime) -> Iterator[Row]:
    served = shown.served
    if served["version"] is None:
        return
    requests = "request" if served["requests"] == 1 else "requests"
    said = f"{served['requests']:,} {requests} since this server started"
    if served["requests"]:
        failed = f"{served['errors']:,} with an error" if served["errors"] else "none with an error"
        said += f", {failed}; half in {ms(served['p50_ms'])}, 99 of 100 in {ms(served['p99_ms'])}"
    yield "Traffic", said
    if served["registry_error"]:
        yield "Registry", element("span", served["registry_error"], class_="warn")


def _rollout(served: Mapping[str, Any]) -> Iterator[Row]:
    rollout = served["rollout"]
    if not rollout:
        return
    said = []
    if "new" in rollout:
        share = 100 * rollout["weight"] if rollout["answering"] else 0
        where = f"step {rollout['step']}, {share:.3g}% of the keys" if rollout["open"] else "paused or over"
        said.append(f"version {rollout['new']} beside version {rollout['old']}: {where}")
    if counts := rollout.get("counts"):
        said.append(
            f"{counts['pairs']:,} pairs, {counts['agreed']:,} alike, {counts['failed'] + counts['rescued']:,} failed alone"
        )
    yield (
        "Rollout",
        element(
            "span",
            "; ".join(filter(None, [*said, rollout["why"]])),
            class_="warn" if rollout["why"] else "plain",
        ),
    )


def _first_steps(links: Mapping[str, str]) -> Iterator[str]:
    deployments = link("Prefect's deployments", f"{links.get('Prefect')}/deployments")
    form = ["or in ", deployments, " pick retrain / digits and press Run. "]
    way = [
        "Type ",
        element("code", "slipway run digits"),
        " ",
        *(form if "Prefect" in links else ()),
        "What comes of it stands here.",
    ]
    yield element("section", element("h2", "First train a model"), element("p", *way), class_="card")


def _waiting(models: Sequence[Shown]) -> Iterator[str]:
    """What is followed and has nothing to show: most often there is no champion."""
    errors = {shown.name: shown.served["registry_error"] for shown in models}
    none = [name for name, error in errors.items() if _has_none(error)]
    if none:
        yield element("p", f"No champion yet: {', '.join(none)}.", class_="soft")
    for name in sorted(errors.keys() - none):
        yield element("p", f"{name}: {errors[name] or 'its version is being loaded'}.", class_="soft")


def _has_none(error: str | None) -> bool:
    return error is not None and re.match(_NONE, error) is not None


def ago(at: datetime.datetime, now: datetime.datetime) -> Html:
    """How long since, the moment itself on a touch."""
    seconds = max(0.0, (now - at).total_seconds())
    size = next((size for size in AGES if seconds < size[0]), AGES[-1])
    said = f"{seconds / size[1]:.0f} {size[2]} ago"
    return element(
        "time",
        said,
        datetime=at.isoformat(timespec="seconds"),
        title=f"{at.astimezone(datetime.UTC):%d %b %Y, %H:%M:%S} UTC",
    )


AGES = ((90, 1, "s"), (5_400, 60, "min"), (172_800, 3_600, "h"), (float("inf"), 86_400, "days"))


def ms(bound: float | None) -> str:
    return "–" if bound is None else "over 10 s" if bound >= 10_000 else f"at most {bound:g} ms"
