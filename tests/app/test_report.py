"""Reports: what they state, in both forms, for whom, and what they do when something is not there any more."""

from __future__ import annotations

import html
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from fastapi.testclient import TestClient

from app.report import wording
from app.report.document import Code, Document, Paragraph, Section
from app.report.pdf import render_pdf
from app.report.wording import CATALOGUE, Words
from app.texts.catalogue import COMMON, LANGUAGES
from app.texts.negotiation import choose_language, choose_media_type
from model.decision.bootstrap import Bootstrap, Interval, Resampled
from model.decision.calibration import Calibration
from model.networks.weights import load_card
from tests.app.desk.test_pages import Browser
from tests.app.keyed import Commands, Draw, Serve
from tests.app.store.conftest import Sql
from tests.app.test_api import enrol, verify
from tests.app.test_review_cases import REVIEW, fill, post

SCRIPT = "<script>alert(1)</script>"
STATED = (
    "H1",
    "H2",
    "A random forgery",
    "It is not the probability that the signer",
    "Uncertainty",
    "SHA-256",
    "were taken to be genuine",
    "This signer's own range",
    "skilled forgeries that are accepted",
    "they agree with the record",
    "Verbal equivalent (ENFSI, 2015)",
    "Who wrote the signature",
    "python -m app audit verify --anchors",
    "none recorded",
)


def text_of(response: Any) -> str:
    """The text of a report, without line breaks."""
    if response.headers["content-type"].startswith("text/html"):
        text = html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", response.text, flags=re.DOTALL))
    else:
        pages = pypdfium2.PdfDocument(response.content)
        text = " ".join(page.get_textpage().get_text_range() for page in pages)
    return re.sub(r"\s+", " ", text)


def report(client: TestClient, verification_id: str, form: str = "html", **more: Any) -> Any:
    return client.get(f"/verifications/{verification_id}/report", params={"format": form}, **more)


@pytest.fixture
def kept(serve: Serve, draw: Draw) -> tuple[TestClient, dict[str, Any]]:
    """A service that keeps images, and a verification with three references."""
    client = serve(keep_questioned_days=1)
    assert enrol(client, "anna", *(draw(1, n) for n in range(3))).status_code == 201
    return client, verify(client, "anna", draw(1, 9)).json()


def test_both_forms_state_the_same(kept: tuple[TestClient, dict[str, Any]]) -> None:
    client, told = kept
    page, document = (report(client, told["verification_id"], form) for form in ("html", "pdf"))
    assert (page.status_code, document.status_code) == (200, 200)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert document.headers["content-type"] == "application/pdf"
    assert document.content.startswith(b"%PDF-")
    texts = text_of(page), text_of(document)
    record = client.get(f"/verifications/{told['verification_id']}").json()
    model = client.get("/model").json()
    stated = (
        *STATED,
        told["verification_id"],
        told["model_version"],
        model["calibration"]["id"],
        f"{told['distance']:.3f}",
    )
    for text in texts:
        flat = text.replace(" ", "")
        for words in stated:
            assert words.replace(" ", "") in flat, words
        # A PDF breaks long words.
        for digest in (record["questioned_sha256"], model["card"]["sha256"]):
            assert digest in flat
    assert page.text.count("data:image/png;base64,") == 8, "questioned, 3 references, overlay, 3 maps"
    assert "<svg" in page.text


def test_it_is_written_in_german(kept: tuple[TestClient, dict[str, Any]]) -> None:
    client, told = kept
    path = f"/verifications/{told['verification_id']}/report"
    page = client.get(path, headers={"Accept-Language": "fr, de-AT;q=0.9, en;q=0.8"})
    assert page.headers["content-language"] == "de"
    assert '<html lang="de">' in page.text
    document = client.get(path, params={"language": "de", "format": "pdf"})
    number = f"{told['distance']:.3f}".replace(".", ",")
    stated = (
        "Hypothesen",
        "nicht die Wahrscheinlichkeit, dass der Zeichner",
        "Unsicherheit",
        "Der Abstand ist " + number,
        "Sie stimmen mit den festgehaltenen überein",
        "geübte Fälschungen, die angenommen werden",
        "python -m app audit verify --anchors",
    )
    for answer in (page, document):
        text = text_of(answer)
        for words in stated:
            assert words.replace(" ", "") in text.replace(" ", ""), words
        assert "[U+" not in text, "the font has all letters"
        assert "signature" not in text.partition("laut Modellkarte (englisch)")[0]
    assert document.content == client.get(path, params={"language": "de", "format": "pdf"}).content
    assert client.get(path, headers={"Accept-Language": "fr"}).headers["content-language"] == "en"
    assert client.get(path, params={"language": "fr"}).json()["code"] == "malformed-request"


def test_every_text_is_in_every_language_and_every_text_is_used() -> None:
    fields = re.compile(r"\{(\w+)\}")
    for key, entry in CATALOGUE.items():
        assert set(entry) == set(LANGUAGES), key
        assert len({tuple(sorted(fields.findall(text))) for text in entry.values()}) == 1, key
    source = "".join(file.read_text(encoding="utf-8") for file in Path(wording.__file__).parent.glob("*.py"))
    named = set(re.findall(r"""["']([a-z][a-z0-9-]*)["']""", source))
    families = (
        "action-",
        "column-",
        "forgeries-",
        "limit-",
        "no-maps-",
        "other-",
        "plot-",
        "population-",
    )
    unused = {
        key for key in CATALOGUE.keys() - COMMON.keys() if key not in named and not key.startswith(families)
    }
    assert {key.removesuffix("-meaning") for key in unused} <= {
        "accept",
        "reject",
        "far-skilled",
        "far-random",
        "frr",
    }, unused


def test_the_language_is_chosen_by_weight() -> None:
    for header, language in (
        ("", "en"),
        ("de", "de"),
        ("de-CH, en;q=0.5", "de"),
        ("en;q=0.5, de;q=0.7", "de"),
        ("de;q=0, *", "en"),
        ("de;q=x", "en"),
        ("xx,,;q=1", "en"),
    ):
        assert choose_language(header) == language, header


def test_the_conditioning_information_and_the_choice_of_the_threshold_are_stated(
    serve: Serve, draw: Draw
) -> None:
    client = serve(target_far_bands="1000:0.1,above:0.05")
    enrol(client, "anna", draw(1, 0), draw(1, 1))
    files = {"signature": draw(1, 9)}
    sent = {"signer_id": "anna", "amount": "2500.5", "currency": "EUR"}
    told = client.post("/verify", data=sent, files=files).json()
    text = text_of(report(client, told["verification_id"]))
    assert "Whose signature it is claimed to be was stated with the request: anna" in text
    assert "No information on the circumstances of the case was used" in text
    assert "5 % of skilled forgeries would be accepted, for the amount of the document (band 2)" in text
    assert "2,500.50 EUR" in text
    assert "2.500,50 EUR" in text_of(
        report(client, told["verification_id"], headers={"Accept-Language": "de"})
    )


def test_the_form_is_negotiated(kept: tuple[TestClient, dict[str, Any]]) -> None:
    client, told = kept
    path = f"/verifications/{told['verification_id']}/report"
    for accept, kind in (
        ("application/pdf", "application/pdf"),
        ("text/html,application/pdf", "text/html"),
        ("*/*", "text/html"),
    ):
        answer = client.get(path, headers={"Accept": accept})
        assert answer.headers["content-type"].startswith(kind), accept
        assert answer.headers["vary"] == "Accept, Accept-Language"
    assert client.get(path, params={"format": "docx"}).json()["code"] == "malformed-request"


def test_the_same_record_gives_the_same_bytes_and_each_reading_is_in_the_audit(
    kept: tuple[TestClient, dict[str, Any]],
) -> None:
    client, told = kept
    for form in ("html", "pdf"):
        first, second = (report(client, told["verification_id"], form).content for _ in range(2))
        assert first == second
    entries = client.get("/audit?action=view-report").json()["entries"]
    assert len(entries) == 4
    assert entries[0]["record_id"] == told["verification_id"]
    assert entries[0]["details"]["questioned"]
    assert len(entries[0]["details"]["references"]) == 3
    client.put(
        f"/verifications/{told['verification_id']}/outcome", json={"outcome": "genuine", "note": "came in"}
    )
    changed = text_of(report(client, told["verification_id"]))
    assert "genuine, recorded on" in changed
    assert "came in" in changed


def test_the_printed_command_finds_a_change(
    kept: tuple[TestClient, dict[str, Any]], commands: Commands, sql: Sql, tmp_path: Path
) -> None:
    client, told = kept
    text = html.unescape(report(client, told["verification_id"]).text)
    found = re.search(r"printf '%s\\n' '(\{.*?\})' > report-entries", text)
    assert found
    anchor = json.loads(found[1])
    entry = client.get("/audit?action=verify").json()["entries"][0]
    assert (anchor["sequence"], anchor["hash"]) == (entry["sequence"], entry["hash"])
    anchors = tmp_path / "report-entries.jsonl"
    anchors.write_text(found[1] + "\n")
    intact = commands.run("audit", "verify", "--anchors", str(anchors))
    assert (intact.exit_code, "intact; 1 anchors" in intact.output) == (0, True)
    sql(f"UPDATE verifications SET distance = 0.1 WHERE verification_id = '{told['verification_id']}'")
    assert "was changed: distance" in commands.run("audit", "verify", "--anchors", str(anchors)).output
    assert "DO NOT AGREE" in text_of(report(client, told["verification_id"]))
    anchors.write_text(json.dumps(anchor | {"hash": "0" * 64}) + "\n")
    assert "another hash" in commands.run("audit", "verify", "--anchors", str(anchors)).output


def test_it_is_read_with_the_scope_read_in_its_own_tenant(
    serve: Serve, commands: Commands, draw: Draw
) -> None:
    north, south = (commands.key("clerk", "admin", tenant=name) for name in ("north", "south"))
    teller = commands.key("teller", "verify", tenant="north")
    client = serve()
    enrol(client, "anna", draw(1, 0), headers=north)
    told = verify(client, "anna", draw(1, 1), headers=north).json()
    assert report(client, told["verification_id"], headers=north).status_code == 200
    refused = report(client, told["verification_id"], headers=south)
    assert (refused.status_code, refused.json()["code"]) == (404, "verification-not-found")
    assert report(client, told["verification_id"], headers=teller).status_code == 403
    actions = [one["action"] for one in client.get("/audit", headers=south).json()["entries"]]
    assert "view-report" not in actions


def test_without_the_image_the_numbers_are_left(serve: Serve, draw: Draw) -> None:
    client = serve()
    enrol(client, "anna", draw(1, 0), draw(1, 1))
    told = verify(client, "anna", draw(1, 9)).json()
    for form in ("html", "pdf"):
        text = text_of(report(client, told["verification_id"], form))
        assert "service was not set to keep questioned images" in text
        assert "There is no map of differences" in text
        assert "This signer's own range" in text
    later = serve(keep_questioned_days=1)
    assert "erased by retention" in text_of(report(later, told["verification_id"]))


def test_after_an_erasure_the_report_says_what_is_missing(kept: tuple[TestClient, dict[str, Any]]) -> None:
    client, told = kept
    first = told["references"][0]["reference_id"]
    client.delete(f"/signers/anna/references/{first}")
    assert "1 of 3 references were deleted since" in text_of(report(client, told["verification_id"]))
    client.delete("/signers/anna")
    for form in ("html", "pdf"):
        answer = report(client, told["verification_id"], form)
        text = text_of(answer)
        assert answer.status_code == 200
        assert "The signer was erased from the service" in text
        assert "No image of a reference that was compared is left" in text
    assert "data:image/png" not in report(client, told["verification_id"]).text


def test_one_reference_is_called_what_it_is(serve: Serve, draw: Draw) -> None:
    client = serve(keep_questioned_days=1)
    enrol(client, "anna", draw(1, 0))
    told = verify(client, "anna", draw(1, 9)).json()
    text = text_of(report(client, told["verification_id"]))
    assert "There is only one reference" in text
    assert "what is usual for this signer is unknown" in text
    assert "own range" not in text.replace("This signer's own range", "own range") or "not known" in text


def test_a_possible_copy_gets_no_support(serve: Serve, draw: Draw) -> None:
    client = serve()
    enrol(client, "anna", draw(1, 0), draw(1, 1))
    told = verify(client, "anna", draw(1, 0)).json()
    text = text_of(report(client, told["verification_id"]))
    assert "It may be a copy or a tracing" in text
    assert "On the verbal scale this is" not in text
    assert "must not be used as support for H1" in text


def test_the_interval_over_writers_is_stated(
    serve: Serve, draw: Draw, model_folder: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    shutil.copytree(model_folder, weights)
    calibration = Calibration.load(weights, load_card(weights).sha256)
    Bootstrap(
        calibration=calibration.identifier,
        samples=3,
        writers=8,
        seed=0,
        rules=tuple(
            Resampled(
                references=rule.references,
                weights=(rule.weights,) * 3,
                spread_weight=(rule.spread_weight,) * 3,
                slope=tuple(rule.slope * factor for factor in (0.5, 1.0, 1.5)),
                intercept=(rule.intercept,) * 3,
            )
            for rule in calibration.parameters
        ),
    ).save(weights)
    client = serve(weights=weights)
    enrol(client, "anna", draw(1, 0), draw(1, 1))
    told = verify(client, "anna", draw(3, 0)).json()
    text = text_of(report(client, told["verification_id"]))
    assert "in 95 of 100 samples of writers" in text
    assert "H1 : H2, 95 % interval" in text
    assert "The interval covers the choice of the writers, and nothing else." in text


def test_names_are_text_in_both_forms(serve: Serve, draw: Draw) -> None:
    client = serve()
    name = f"{SCRIPT}签"
    path = name.replace("<", "%3C").replace(">", "%3E").replace("/", "%2F")
    assert client.post(f"/signers/{path}/references", files=[("files", draw(1, 0))]).status_code == 201
    told = verify(client, name, draw(1, 9)).json()
    page = report(client, told["verification_id"])
    assert SCRIPT not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;签" in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    text = text_of(report(client, told["verification_id"], "pdf"))
    assert SCRIPT in text
    assert "[U+7B7E]" in text


def test_a_person_s_decision_is_on_it_and_the_desk_links_it(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW, keep_questioned_days=1)
    (case,) = fill(client, draw, 1)
    post(client, f"{case}/claim")
    post(client, f"{case}/decision", decision="reject", reason="differs", note="<b>line quality</b>")
    page = report(client, case)
    assert "reject, reason does not agree with the references, by eva on" in text_of(page)
    assert "<b>line quality" not in page.text
    browser = Browser(client)
    shown = browser.get(f"/desk/cases/{case}").text
    assert f'href="/desk/cases/{case}/report"' in shown
    assert 'data-key="d"' in shown
    assert browser.get(f"/desk/cases/{case}/report").text == page.text
    assert browser.get(f"/desk/cases/{case}/report?format=pdf").content.startswith(b"%PDF-")
    address = re.search(r'data-differences="([^"]+)"', shown)
    assert address
    layer = browser.get(address[1]).json()
    assert layer["source"].startswith("data:image/png;base64,")
    assert layer["spread"] > 0
    assert "cells are beyond 4 times the usual" in layer["text"]
    assert browser.get(f"/desk/cases/{case}/differences?reference=x").status_code == 404


def test_a_report_is_ready_in_time(kept: tuple[TestClient, dict[str, Any]]) -> None:
    client, told = kept
    for form in ("html", "pdf"):
        seconds = []
        for _ in range(4):
            begin = time.process_time()
            assert report(client, told["verification_id"], form).status_code == 200
            seconds.append(time.process_time() - begin)
        assert min(seconds) < 1.5, f"{form}: processor time of this process, in s"


def test_a_long_report_breaks_over_pages() -> None:
    document = Document(
        "t",
        "s",
        (Section("a", [Paragraph("word " * 3000), Code("x" * 400)]), Section("b", [Paragraph("end")])),
    )
    made = render_pdf(document)
    assert len(pypdfium2.PdfDocument(made)) > 3
    assert made == render_pdf(document)


def test_words_for_numbers() -> None:
    words, german = Words("en"), Words("de")
    assert words.ratio(0.1) == "1.3"
    assert german.ratio(0.1) == "1,3"
    assert words.ratio(-0.6) == words.ratio(0.6) == "4"
    assert words.ratio(1.17) == "10"
    assert words.ratio(3.52) == "3000"
    assert words.support(0.2).startswith("no support")
    assert (
        words.support(1.5)
        == "moderate support for H1 (written by the signer) rather than H2 (a skilled forgery)"
    )
    assert words.support(-0.5).startswith("weak support for H2")
    assert words.support(7.0).startswith("extremely strong")
    assert words.share(0.0005, 0.00048) == "at most 0.048 %"
    assert words.share(0.12, 0.00048) == "12 %"
    assert words.share(None) == "not estimated"
    found = Interval(-0.5, 3.5, low_is_limit=False, high_is_limit=True)
    assert words.interval(found) == "3 in favour of H2 to 3000 or more in favour of H1"
    assert german.interval(found) == "3 zugunsten von H2 bis 3000 oder mehr zugunsten von H1"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("application/pdf", "pdf"),
        ("application/pdf, */*", "pdf"),
        ("application/pdf, text/html", "html"),
        ("text/html;q=0.5, application/pdf", "pdf"),
        ("text/html;q=0.9, application/pdf;q=0.4", "html"),
        ("application/pdf;q=0, */*", "html"),
        ("text/*;q=0.3, application/*;q=0.6", "pdf"),
        ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", "html"),
        ("text/html;q=x, application/pdf;q=0.1", "pdf"),
        ("application/json", "html"),
        ("*/*", "html"),
        ("", "html"),
    ],
)
def test_the_form_is_the_one_that_accept_prefers(accept: str, form: str) -> None:
    chosen = choose_media_type(accept, ("text/html", "application/pdf"))
    assert chosen == {"html": "text/html", "pdf": "application/pdf"}[form]


def test_a_report_respects_the_weights_of_accept(kept: tuple[TestClient, dict[str, Any]]) -> None:
    client, told = kept
    path = f"/verifications/{told['verification_id']}/report"
    answer = client.get(path, headers={"Accept": "text/html;q=0.5, application/pdf"})
    assert answer.headers["content-type"] == "application/pdf"
    assert "Accept" in answer.headers["vary"]
