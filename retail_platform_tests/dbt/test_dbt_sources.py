from retail_platform.warehouse.dbt_sources import SOURCES_FILE, render_sources


def test_the_committed_sources_are_what_the_contracts_say() -> None:
    assert SOURCES_FILE.read_text(encoding="utf-8") == render_sources(), (
        "a contract has changed: run python -m retail_platform.warehouse.dbt_sources"
    )
