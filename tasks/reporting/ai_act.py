"""The headings of the EU's AI Act that a dossier is ordered by, and what Slipway cannot say at each.

Annex IV's headings are the Regulation's own words, as the Official Journal published them; amendments since are not in here. What is left
out goes through the letters and clauses of each point.
"""

from tasks.system.frozen import Frozen

SOURCE = "Regulation (EU) 2024/1689 (OJ L, 2024/1689, 12.7.2024)"


class Heading(Frozen):
    """A point of Annex IV, or an article: what it asks for, and what has to come from the provider."""

    number: str
    name: str
    heading: str
    left_out: str
    file: str


def _point(number: int, heading: str, left_out: str) -> Heading:
    return Heading(
        number=str(number), name=f"Annex IV, point {number}", heading=heading, left_out=left_out, file=f"point-{number}.md"
    )  # fmt: skip


POINTS = (
    _point(
        1,
        "A general description of the AI system",
        "The intended purpose; the provider's name; how the system interacts with hardware, software and other AI systems; requirements of updates; other forms in which it is "
        "placed on the market; the hardware that it is intended to run on; the product that it may be part of, in pictures; the user interface; the instructions for use. "
        "Slipway knows a model, and not the system around it.",
    ),
    _point(
        2,
        "A detailed description of the elements of the AI system and of the process for its development",
        "Why it was designed so: its general logic, the key choices and by what assumptions about persons and groups, trade-offs; the architecture of the system around the "
        "model; where the rows come from, how they were obtained, selected, labelled and cleaned, and whether they are representative; the assessment of the human oversight measures "
        "needed under Article 14, and of what helps to interpret outputs (Article 13(3)(d)); changes that were determined beforehand; potentially discriminatory impacts; the "
        "responsible persons' signatures under test reports, for here a key signs; cybersecurity measures other than signatures.",
    ),
    _point(
        3,
        "Detailed information about the monitoring, functioning and control of the AI system",
        "The level of accuracy that the intended purpose needs; accuracy for specific persons or groups where those below are none; foreseeable unintended outcomes and sources of "
        "risks to health and safety, fundamental rights and discrimination; the human oversight measures, and what was done so that outputs can be interpreted; what input data mean.",
    ),
    _point(
        4,
        "A description of the appropriateness of the performance metrics for the specific AI system",
        "Whether this metric, and these limits, are the right ones for the intended purpose: below stands which were used.",
    ),
    _point(
        5,
        "A detailed description of the risk management system in accordance with Article 9",
        "All of it: Slipway has no risk management system in the sense of Article 9. Its gates are technical tests, which such a system may refer to.",
    ),
    _point(
        6,
        "A description of relevant changes made by the provider to the system through its lifecycle",
        "Changes of anything but the model: of the system around it, its instructions, its intended purpose; and whether a change is a substantial modification.",
    ),
    _point(
        7,
        "A list of the harmonised standards applied in full or in part the references of which have been published in the Official Journal of the European Union; where no such "
        "harmonised standards have been applied, a detailed description of the solutions adopted to meet the requirements set out in Chapter III, Section 2, including a list of "
        "other relevant standards and technical specifications applied",
        "All of it: nothing here is a harmonised standard. The formats of the statements (in-toto, SLSA, DSSE, Sigstore bundles) are industry's.",
    ),
    _point(
        8,
        "A copy of the EU declaration of conformity referred to in Article 47",
        "All of it: the provider draws it up and signs it.",
    ),
    _point(
        9,
        "A detailed description of the system in place to evaluate the AI system performance in the post-market phase in accordance with Article 72, including the post-market "
        "monitoring plan referred to in Article 72(3)",
        "The post-market monitoring plan, and the reporting of serious incidents (Article 73): below stands what was measured.",
    ),
)

ARTICLE_12 = Heading(
    number="12",
    name="Article 12",
    heading="Record-keeping",
    left_out="Whether what stands below is all that Article 12(2) asks for: events that show a risk or a substantial modification, and serve the monitoring by the provider and by the "
    "deployer. The log of each use: servers record requests and answers where they are told to, outside of this document and only for as long as that is kept (Article 19 and "
    "Article 26(6) say how long it has to be). What Article 12(3) asks of remote biometric identification is not recorded.",
    file="article-12.md",
)

HEADINGS = (*POINTS, ARTICLE_12)
