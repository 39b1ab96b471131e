"""Why the centre does not take what is sent, in words for whoever has to mend it: in running faults and in the probe."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.message import Answer


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is sent: the keys of the site file that name its address and what proves who sends."""

    address: str
    proof: str
    proves: str


WEBHOOK = Place("centre.webhook.url", "centre.webhook.secret", "our signature")
BACKUP = Place("centre.webhook.backup_url", "centre.webhook.secret", "our signature")
MEDIA = Place("centre.media_url", "centre.media_token", "our token")


def place_of(path: str) -> Place:
    """The place of a path by its name."""
    return {"second": BACKUP, "media": MEDIA}.get(path, WEBHOOK)


def in_words(answer: Answer, place: Place) -> str:
    """What an answer that is no receipt means, and what to do."""
    status = answer.status
    if status is None:
        named = f"{place.address}: " if place is MEDIA else ""
        return f"{named}no answer: {answer.detail}; check {place.address} and the network"
    # The paths of messages are named by their fault; the place for evidence is named here.
    said = (
        f"{place.address} answers {status} {answer.detail}" if place is MEDIA else f"{status} {answer.detail}"
    )
    said = said.rstrip()
    if status in (401, 403) or (status == 400 and place is not MEDIA):
        clocks = "" if place is MEDIA else ", and both clocks"
        return f"{said}: it does not take {place.proves}; compare {place.proof} with the centre{clocks}"
    return f"{said}: {_meaning(status, place)}"


def _meaning(status: int, place: Place) -> str:
    if 300 <= status < 400:
        return f"redirects are not followed; write the address it names in {place.address}, if it is right"
    known = {
        404: f"nothing is there; check the path in {place.address}",
        405: f"nothing is taken there; check the path in {place.address}",
        407: f"a proxy stands between and asks for a login; let {place.address} pass it",
        409: "it says that it has this already, and cannot have it; a proxy may be answering in its place",
        410: f"gone; ask the centre for its new address ({place.address})",
        411: "it wants lengths we gave it; a proxy stands between",
        413: "too large for it or for a proxy before it; ask the centre to take more",
        429: "it has too much to do; ask the centre",
        507: "the centre has no room",
        511: "a network login page answers in place of the centre; log in there, or have this box let through",
    }
    if status in known:
        return known[status]
    if status >= 500:
        return "the centre fails or is away; ask the centre what it suffers from"
    return f"expected 2xx; ask the centre, and check {place.address}"
