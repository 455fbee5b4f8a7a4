"""The version picker of a notebook: a menu where one can run, and the chosen version wherever it is saved."""

from __future__ import annotations

import sys
from html import escape

import pytest

import rooflift as rl
from rooflift.errors import CatalogError

VIEW = "application/vnd.jupyter.widget-view+json"


def test_a_version_is_shown_with_its_header_its_figures_and_its_predictions() -> None:
    run = rl.latest("softmax", gpu="H100", metrics=True)
    shown = run.pick("v6").html("v6_shared")
    header = next(one for one in run.manifest.versions if one.version == "v6_shared")
    assert header.title in shown
    assert "SOL" in shown
    for prediction in run.predictions.query("version == 'v6_shared'")["prediction"]:
        assert escape(prediction) in shown
    with pytest.raises(CatalogError):
        run.pick("v99")


def test_the_menu_has_every_version_and_shows_the_picked_one() -> None:
    run = rl.latest("softmax", gpu="H100", metrics=True)
    picker = run.pick("v6")
    menu, shown = picker.menu().children
    assert list(menu.options) == run.versions
    assert shown.value == picker.html("v6_shared")
    menu.value = "v1_grid"
    assert shown.value == picker.html("v1_grid") != picker.html("v6_shared")


def test_what_is_saved_shows_the_chosen_version_with_and_without_ipywidgets(monkeypatch: pytest.MonkeyPatch) -> None:
    picker = rl.latest("softmax", gpu="H100", metrics=True).pick("v6")
    live = picker._repr_mimebundle_(include=None, exclude=None)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    still = picker._repr_mimebundle_(include=None, exclude=None)
    assert VIEW in live
    assert VIEW not in still
    assert live["text/html"] == still["text/html"] == picker.html("v6_shared")
