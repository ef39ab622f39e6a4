"""The pages Learning and Badges: what is due, what is to come, mastery with its uncertainty, a forgetting curve, badges."""

import re

from playwright.async_api import expect

from tests.browser.filled import call, fill
from tests.browser.room import Room
from tests.support.mesh import Mesh


async def test_a_learner_at_a_glance(room: Room, mesh: Mesh) -> None:
    """Figures, the workload as a chart and as a table, mastery of domains and of the skills of one."""
    await fill(mesh)
    overview = await call(mesh, "GET", "training/overview", params={"userId": "noor"})
    page = await room.open("learning?user=noor")
    await expect(page.get_by_role("combobox", name="Learner")).to_have_value("noor")
    await expect(page.locator(".figure").filter(has_text="Due this week")).to_contain_text(
        f"of {overview['workload']['cards']} cards"
    )
    await expect(page.get_by_role("img", name=re.compile("Reviews expected on each of the next 30 days"))).to_be_visible()
    await page.locator(".bars-figure").get_by_text("The same as a table").click()
    await expect(page.locator(".bars-figure").get_by_role("row")).to_have_count(31)
    domain = overview["masteryByDomain"][0]
    level = f"{domain['mastery']['level'] * 100:.0f} %"
    mastery = page.get_by_role("region", name="Mastery by domain")
    await expect(mastery.get_by_role("row").filter(has_text=domain["title"])).to_contain_text(level)
    await mastery.get_by_role("button", name=domain["title"]).click()
    await expect(
        page.get_by_role("region", name=f"Mastery of the skills of {domain['title']}").get_by_role("img").first
    ).to_be_visible()
    await room.shot("learning")
    await room.axe_everywhere()
    await room.shot("learning-360", narrow=True)


async def test_the_forgetting_curve_of_a_card(room: Room, mesh: Mesh) -> None:
    """A card opens with its curve and the reviews on it."""
    await fill(mesh)
    page = await room.open("learning?user=tomas")
    await page.get_by_role("group", name="Which cards").get_by_role("button", name="all").click()
    await page.get_by_role("region", name="Cards by due time").get_by_role("button").first.click()
    curve = page.get_by_role("dialog", name="Forgetting curve")
    await expect(curve.locator(".chart canvas")).to_be_visible()
    await expect(curve.get_by_role("region", name="Reviews of this card").get_by_role("row").nth(1)).to_contain_text("first time")
    await room.shot("forgetting-curve")
    await room.axe()


async def test_feedback_elsewhere_moves_the_page(room: Room, mesh: Mesh) -> None:
    """A round that is closed by another client is on the page without a reload."""
    user = "moved-by-feedback"
    begun = await call(mesh, "POST", "training/start", json={"userId": user, "focusArea": "git", "roundCount": 1})
    page = await room.open(f"learning?user={user}")
    await expect(page.get_by_text("Nothing is known yet.")).to_be_visible()
    feedback = {"userId": user, "sessionId": begun["sessionId"], "roundId": begun["roundId"], "score": 1.0}
    await call(mesh, "POST", "coach/feedback", json=feedback)
    await expect(page.get_by_role("region", name="Mastery by domain").get_by_role("row").filter(has_text="Git")).to_be_visible()
    await expect(room.row("completed")).to_contain_text("git")


async def test_an_import_elsewhere_moves_the_page_and_the_skills_that_are_open(room: Room, mesh: Mesh) -> None:
    """Reviews that another client imports are on the page, and in the table of a domain's skills, without a reload."""
    user = "moved-by-import"
    page = await room.open(f"learning?user={user}")
    await expect(page.get_by_text("Nothing is known yet.")).to_be_visible()
    for rounds, day in enumerate((3, 4), 1):
        review = {"cardId": "python.iteration.enumerate", "time": f"2026-01-0{day}T12:00:00Z", "score": 0.9}
        await call(mesh, "POST", "reviews/import", json={"userId": user, "reviews": [review]})
        domain = page.get_by_role("region", name="Mastery by domain").get_by_role("row").filter(has_text="Python")
        await expect(domain.get_by_role("cell").last).to_have_text(str(rounds))
        if rounds == 1:
            await domain.get_by_role("button", name="Python").click()
        skill = page.get_by_role("region", name="Mastery of the skills of Python").get_by_role("row").nth(1)
        await expect(skill.get_by_role("cell").last).to_have_text(str(rounds))


async def test_the_first_learner_ends_the_remark_that_there_is_none(room: Room, mesh: Mesh) -> None:
    """Whoever follows the advice of the page to start a session sees what comes of it, without a reload."""
    user = "first-of-all"
    await room.context.route("**/api/v1/learners?**", lambda route: route.fulfill(json={"learners": []}))
    page = await room.open("learning")
    await expect(page.get_by_text("Nobody has trained yet.")).to_be_visible()
    await room.context.unroute_all()
    begun = await call(mesh, "POST", "training/start", json={"userId": user, "focusArea": "git", "roundCount": 1})
    feedback = {"userId": user, "sessionId": begun["sessionId"], "roundId": begun["roundId"], "score": 1.0}
    await call(mesh, "POST", "coach/feedback", json=feedback)
    await expect(page.get_by_role("combobox", name="Learner")).to_have_value(user)


async def test_a_browser_in_a_zone_that_the_mesh_does_not_know(room: Room, mesh: Mesh) -> None:
    """A machine without a time zone is in "Etc/Unknown": the page counts days as the mesh does, and shows all the rest."""
    await fill(mesh)
    unknown = "const known = Intl.DateTimeFormat.prototype.resolvedOptions; Intl.DateTimeFormat.prototype.resolvedOptions ="
    await room.page.add_init_script(f"{unknown} function () {{ return {{ ...known.call(this), timeZone: 'Etc/Unknown' }} }}")
    room.allow("status of 400")
    page = await room.open("learning?user=noor")
    await expect(page.get_by_text("Due this week")).to_be_visible()


async def test_badges_earned_and_near(room: Room, mesh: Mesh) -> None:
    """Those of the learner that is chosen; the nearest of the others first."""
    await fill(mesh)
    page = await room.open("badges?user=noor")
    await expect(page.get_by_role("listitem").filter(has_text="First Steps")).to_contain_text("earned")
    await expect(page.get_by_role("progressbar").first).to_be_visible()
    shares = [float(str(await bar.get_attribute("aria-valuenow"))) for bar in await page.get_by_role("progressbar").all()]
    assert shares == sorted(shares, reverse=True)
    assert max(shares) > 0
    await room.shot("badges")
