"""The connection test tries every way for real: what the server offers works, what it does not offer is named."""
from kit import browser, skein, skein_json, unique, URL


async def test_the_page_shows_a_row_for_every_way():
    link = skein("room", "link", unique("test")).strip()
    async with browser() as chromium:
        page = await (await chromium.new_context()).new_page()
        await page.goto(link)
        await page.get_by_text("Test the connection").click()
        await page.wait_for_selector(".verdict[data-done=true]", timeout=60_000)
        states = dict(await page.eval_on_selector_all(
            ".check li", "rows => rows.map((row) => [row.dataset.name, row.dataset.state])"))
        assert states == {
            "Signal": "ok", "UDP": "ok", "TCP": "ok", "TURN over UDP": "ok", "TURN over TLS": "skipped"}
        assert "best way" in await page.inner_text(".verdict")


async def test_the_doctor_says_the_same_on_the_command_line():
    report = skein_json("doctor", URL)
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert states == {"server": "ok", "clock": "ok", "signal": "ok", "UDP": "ok", "TCP": "ok",
                      "TURN/UDP": "ok", "TURN/TLS": "warning"}
    assert report["ok"] and "over UDP" in report["verdict"]
