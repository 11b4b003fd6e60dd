"""The API's description is committed, and is what the program does."""

from pathlib import Path

from findings import finding

from offbeat.api import openapi
from offbeat.api.schemas import Finding, Incident
from offbeat.model import IncidentState
from offbeat.store import Incident as Row

COMMITTED = Path(__file__).parents[2] / "api/openapi.json"


def test_the_committed_description_is_current():
    """A change of the API is a change of api/openapi.json: `python -m offbeat.api.openapi > api/openapi.json`."""
    assert COMMITTED.read_text(encoding="utf-8") == openapi.text()


def test_incidents_have_all_members_described():
    """What the store says of an incident is what the API says of it."""
    row = Row("i", "train", 0, IncidentState.OPEN, 1, finding(), 1, 1).to_dict()
    assert Incident.model_validate(row).model_dump(by_alias=True, mode="json") == row
    assert set(row["finding"]) == {field.alias or name for name, field in Finding.model_fields.items()}
