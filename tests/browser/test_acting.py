"""What people do to tickets in a real browser, against a real collector: a ticket's whole life, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from collector.store import audit
from tests.browser.centre import Centre, centre
from tests.browser.chromium import browser

__all__ = ["browser"]

LIFE = [
    "opened", "acknowledged", "responded", "planned", "waits", "goes_on", "resolved", "call_back_drawn",
    "dissatisfied", "resolved", "call_back_drawn", "confirmed",
]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Centre]:
    with centre(tmp_path) as one:
        yield one


def acts(page: Page, what: str, name: str, **says: str) -> None:
    """Fill the form of an act by mouse, and send it."""
    form = page.locator(f"form[data-act={what}]")
    expect(form).to_have_count(1)
    if not form.is_visible():
        page.locator(".others > summary").click()
        page.locator(f"summary[data-act={what}]").click()
    for field, value in says.items():
        where = form.locator(f"[name={field}]")
        if where.first.get_attribute("type") == "radio":
            form.locator(f"[name={field}][value={value}]").check()
        elif where.evaluate("one => one.tagName") == "SELECT":
            where.select_option(value)
        else:
            where.fill(value)
    form.locator("button").click()
    expect(page.locator(".result")).to_contain_text(f"{name}：已完成")


def test_a_tickets_whole_life_by_mouse(browser: Browser, place: Centre) -> None:
    ticket = place.break_sim()
    wang, zhao = place.page(browser, "wang"), place.page(browser, "zhao", f"tickets/{ticket}")
    wang.locator(f".tickets a:has-text('{ticket}')").click()
    acts(wang, "acknowledged", "受理")
    acts(wang, "responded", "响应", how="remote")
    expect(zhao.locator("#ticket .facts")).to_contain_text("已响应")
    acts(wang, "planned", "提出解决方案", text="换SIM卡")
    acts(wang, "waits", "等待", reason="vehicle", evidence="李护士：下午回站")
    expect(wang.locator("#ticket")).to_contain_text("等待车辆到场，至")
    acts(wang, "goes_on", "继续处理")
    acts(wang, "resolved", "解决", done="换SIM卡", test="现场视频正常", why_unrecovered="路由器已断电")
    expect(wang.locator("form[data-act=call_back]")).to_have_count(0)
    zhao.reload()
    acts(zhao, "call_back", "回访未解决（差）", reached="yes", solved="no", answer="bad", text="又断了")
    assert place.state(ticket) == ("new", 2)
    wang.reload()
    acts(wang, "resolved", "解决", done="重装卡托", why_unrecovered="路由器已断电")
    zhao.reload()
    acts(zhao, "call_back", "回访满意（优、良）", reached="yes", solved="yes", answer="excellent")
    assert place.state(ticket) == ("closed", 2)
    assert place.whats(ticket) == LIFE
    zhao.close()
    wang.close()


def tab_to(page: Page, selector: str, most: int = 80) -> None:
    """Go on with the tabulator until something has the focus."""
    for _ in range(most):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached by the keyboard")


def keyed(page: Page, what: str, name: str, *says: tuple[str, str]) -> None:
    """Fill the form of an act with the keyboard alone, and send it. A value that begins with a blank is for arrows."""
    form = f"form[data-act={what}]"
    expect(page.locator(form)).to_have_count(1)
    if not page.locator(form).is_visible():
        tab_to(page, ".others > summary")
        page.keyboard.press("Enter")
        tab_to(page, f"summary[data-act={what}]")
        page.keyboard.press("Enter")
    for field, keys in says:
        tab_to(page, f"{form} [name={field}]")
        if keys.startswith("+"):
            for key in keys[1:].split():
                page.keyboard.press(key)
        else:
            page.keyboard.type(keys)
    tab_to(page, f"{form} button")
    page.keyboard.press("Enter")
    expect(page.locator(".result")).to_contain_text(f"{name}：已完成")


def test_a_tickets_whole_life_with_the_keyboard_alone(browser: Browser, place: Centre) -> None:
    ticket = place.break_sim()
    wang, zhao = place.page(browser, "wang"), place.page(browser, "zhao", f"tickets/{ticket}")
    tab_to(wang, f"a[id$='{ticket}']")
    wang.keyboard.press("Enter")
    wang.wait_for_url("**/tickets/**")
    keyed(wang, "acknowledged", "受理")
    keyed(wang, "responded", "响应", ("how", "+ArrowDown"))
    keyed(wang, "planned", "提出解决方案", ("text", "换SIM卡"))
    keyed(wang, "waits", "等待", ("reason", "+ArrowDown"), ("evidence", "李护士"))
    keyed(wang, "goes_on", "继续处理")
    keyed(wang, "resolved", "解决", ("done", "换SIM卡"), ("why_unrecovered", "车已停"))
    zhao.reload()
    keyed(
        zhao, "call_back", "回访未解决（差）", ("reached", "+Space"), ("solved", "+ArrowDown"), ("answer", "+ArrowUp")
    )
    assert place.state(ticket) == ("new", 2)
    wang.reload()
    keyed(wang, "resolved", "解决", ("done", "重装卡托"), ("why_unrecovered", "车已停"))
    zhao.reload()
    keyed(zhao, "call_back", "回访满意（优、良）", ("reached", "+Space"), ("solved", "+Space"), ("answer", "+Space"))
    assert place.state(ticket) == ("closed", 2)
    assert place.whats(ticket) == LIFE
    zhao.close()
    wang.close()


def test_what_is_refused_keeps_what_was_typed_and_what_is_sent_twice_is_done_once(
    browser: Browser, place: Centre
) -> None:
    ticket = place.break_sim()
    page = place.page(browser, "wang", f"tickets/{ticket}")
    other = place.page(browser, "zhao", f"tickets/{ticket}", language="en")
    # something is missing
    page.locator(".others > summary").click()
    page.locator("summary[data-act=resolved]").click()
    form = page.locator("form[data-act=resolved]")
    form.locator("[name=test]").fill("图像正常")
    form.locator("button").click()
    expect(form.locator(".bad")).to_have_text("请填写")
    expect(form.locator("[name=done]")).to_be_focused()
    expect(form.locator("[name=test]")).to_have_value("图像正常")
    # what the desk refuses, in words: the readings have not recovered
    form.locator("[name=done]").fill("换SIM卡")
    form.locator("button").click()
    expect(form.locator(".refused")).to_contain_text("读数尚未恢复：请说明为何仍视为已解决")
    expect(form.locator("[name=done]")).to_have_value("换SIM卡")
    # somebody else was quicker: news does not take away what is typed, and the form is refused
    other.locator("form[data-act=acknowledged] button").click()
    expect(other.locator(".result")).to_contain_text("acknowledged: Done")
    expect(page.locator("#ticket .facts")).to_contain_text("已受理")
    expect(page.locator(".moved")).to_be_visible()
    form.locator("[name=why_unrecovered]").fill("车已停")
    form.locator("button").click()
    expect(form.locator(".refused")).to_contain_text("在此期间已有新的处理，现为“已受理”")
    expect(form.locator("[name=why_unrecovered]")).to_have_value("车已停")
    assert place.whats(ticket) == ["opened", "acknowledged"]
    form.locator("button").dblclick()
    expect(page.locator(".result")).to_contain_text("解决：已完成")
    # the same form sent again by hand is the same act
    page.goto(f"{place.address}/tickets/{ticket}")
    page.locator(".others > summary").click()
    page.locator("summary[data-act=commented]").click()
    page.locator("form[data-act=commented] textarea").fill("只记一次")
    fields = page.eval_on_selector("form[data-act=commented]", "one => Object.fromEntries(new FormData(one))")
    for _ in range(2):
        assert page.request.post(f"{place.address}/tickets/{ticket}", form=fields).ok
    assert place.whats(ticket).count("commented") == 1
    page.close()
    other.close()


def test_it_goes_without_scripts_and_at_a_stated_time(browser: Browser, place: Centre) -> None:
    ticket = place.break_sim()
    page = place.page(browser, "wang", f"tickets/{ticket}", scripts=False, language="en")
    form = page.locator("form[data-act=acknowledged]")
    form.locator("summary").click()
    form.locator("[name=at]").fill("2026-01-01T08:00")
    form.locator("button").click()
    expect(form.locator(".refused")).to_contain_text("cannot have happened before the notice")
    expect(form.locator("[name=at]")).to_have_value("2026-01-01T08:00")
    form.locator("[name=at]").fill("")
    form.locator("button").click()
    expect(page.locator(".result")).to_contain_text("acknowledged: Done")
    expect(page.locator("#ticket .facts")).to_contain_text("acknowledged")
    page.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_session_that_ends_while_a_form_is_open_loses_nothing_that_was_typed(
    browser: Browser, place: Centre, scripts: bool
) -> None:
    ticket = place.break_sim()
    page = place.page(browser, "wang", f"tickets/{ticket}?site=north", scripts=scripts)
    page.locator(".others > summary").click()
    page.locator("summary[data-act=resolved]").click()
    page.fill("form[data-act=resolved] [name=done]", "换SIM卡，\n重启路由器 <b>")
    place.sign_out("wang")
    page.click("form[data-act=resolved] button")
    if not scripts:
        page.click("#go-on button")
    expect(page.locator("#problem")).to_contain_text("登录已过期")
    page.fill("#name", "wang")
    page.fill("#password", "wrong-password")
    page.click("#sign-in button")
    expect(page.locator("#problem")).to_contain_text("密码不正确")
    page.fill("#password", "tested-4711")
    page.click("#sign-in button")
    if not scripts:
        page.click("#go-on button")
    expect(page.locator("form[data-act=resolved] [name=done]")).to_have_value("换SIM卡，\n重启路由器 <b>")
    assert place.whats(ticket) == ["opened"], "nothing was done on the way"
    page.fill("form[data-act=resolved] [name=why_unrecovered]", "车已停")
    page.click("form[data-act=resolved] button")
    expect(page.locator(".result")).to_contain_text("解决：已完成")
    place.sign_out("wang")
    page.goto(f"{place.address}/tickets/{ticket}?site=north")
    page.fill("#name", "wang")
    page.fill("#password", "tested-4711")
    page.click("#sign-in button")
    expect(page).to_have_url(f"{place.address}/tickets/{ticket}?site=north")
    page.close()


def test_a_vehicle_goes_to_the_workshop_and_is_silenced_with_reason_and_end_and_both_are_listed(
    browser: Browser, place: Centre
) -> None:
    ticket = place.break_sim()
    page = place.page(browser, "zhao", "vehicles/amb-3")
    page.click("summary[data-act=duty]")
    form = page.locator("form[data-act=duty]")
    form.locator("[value=workshop]").check()
    form.locator("[name=until]").fill("2026-01-01T08:00")
    form.locator("button").click()
    expect(form.locator(".bad").nth(0)).to_have_text("请填写")
    expect(form.locator(".bad").nth(1)).to_have_text("这一时间已过")
    expect(form.locator("[value=workshop]")).to_be_checked()
    form.locator("[name=why]").fill("年检")
    form.locator("[name=until]").fill("2099-01-01T08:00")
    form.locator("button").click()
    expect(page.locator(".result")).to_contain_text("已完成")
    expect(page.locator("#vehicle .facts")).to_contain_text("年检 · 至 2099-01-01 08:00 · 赵敏")
    page.click("summary[data-act=silence_vehicle]")
    quiet = page.locator("form[data-act=silence_vehicle]")
    quiet.locator("[name=why]").fill("厂家在换天线")
    quiet.locator("button").click()
    expect(page.locator(".result")).to_contain_text("静默：已完成")
    page.click("nav a[href$=silences]")
    expect(page.locator("tr", has_text=ticket)).to_contain_text("厂家在换天线")
    expect(page.locator("tr", has_text=ticket)).to_contain_text("赵敏")
    expect(page.locator("tr", has_text="年检")).to_contain_text("急救03车")
    assert {"vehicle.state", "ticket.silenced"} <= {one.what for one in audit.newest(place.store.engine, 20)}
    page.goto(f"{place.address}/vehicles/amb-3")
    page.click("summary[data-act=duty]")
    form.locator("[value=on_duty]").check()
    form.locator("button").click()
    expect(page.locator(".result")).to_contain_text("已完成")
    expect(page.locator("#vehicle .facts")).to_contain_text("值班")
    page.goto(f"{place.address}/silences")
    expect(page.locator("tr", has_text="年检")).to_have_count(0)
    page.close()


def test_roles_see_what_they_may_do(browser: Browser, place: Centre) -> None:
    ticket = place.break_sim()
    for who, role, forms in (("guest", "viewer", 0), ("doctor", "clinic", 0), ("root", "admin", 0), ("he", "", 1)):
        page = place.page(browser, who, f"tickets/{ticket}", role=role)
        expect(page.locator(".number")).to_have_text(ticket)
        assert (page.locator("form[data-act=acknowledged]").count(), who) == (forms, who)
        me = page.request.get(f"{place.address}/api/me").json()
        forged = {"act": "commented", "text": "x", "csrf_token": me["csrf_token"]}
        assert page.request.post(f"{place.address}/tickets/{ticket}", form=forged).status == (200 if forms else 403)
        assert page.request.post(f"{place.address}/tickets/{ticket}", form={**forged, "csrf_token": "x"}).status == 403
        page.close()
    page = place.page(browser, "engineer", f"tickets/{ticket}", role="engineer")
    expect(page.locator("#acts")).to_contain_text("不在本站点的合同人员名单中")
    page.close()
    assert re.sub("opened|commented", "", "".join(place.whats(ticket))) == ""
