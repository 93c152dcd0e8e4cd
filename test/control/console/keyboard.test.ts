import type { Page } from "playwright-core";
import t from "tap";
import { ADMIN_KEY } from "../api/fixtures/open-api-fixture.ts";
import { openStates } from "./fixtures/every-state.ts";
import { openMeasured } from "./fixtures/measured.ts";
import { openConsole } from "./fixtures/open-console.ts";
import { eventually } from "../../fixtures/eventually.ts";

/** Numbers what a keyboard must reach, and returns how many there are. */
const NUMBER_TARGETS = `(() => {
  const targets = [...(document.querySelector("dialog[open]") ?? document).querySelectorAll('a[href], button:not(:disabled), input, select, summary, [tabindex="0"]')]
    .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !(element.closest("details:not([open])") && !element.matches("summary")));
  for (const [index, element] of targets.entries()) element.dataset.target = String(index);
  return targets.length;
})()`;
/** The number of the focused element, and whether its focus is visible: an outline within the window. */
const FOCUSED = `(() => {
  const element = document.activeElement;
  const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  const isMarked = (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) || boxShadow !== "none" || element.matches(":focus-visible[type=search]");
  return { target: element.dataset.target, isVisible: isMarked && box.bottom > 0 && box.top < innerHeight && box.width > 1 && box.height > 1, text: element.outerHTML.slice(0, 120) };
})()`;

type Focus = { target: string | undefined; isVisible: boolean; text: string };

/** What Tab does not reach on the page, and what hides its focus. */
async function unreachable(page: Page): Promise<string[]> {
  await page.evaluate('document.activeElement.blur(); document.querySelector("dialog[open]") ?? document.body.focus()');
  const count = await page.evaluate<number>(NUMBER_TARGETS);
  const reached = new Set<string>();
  const wrong: string[] = [];
  for (let step = 0; step < 2 * count + 4 && reached.size < count; step++) {
    await page.keyboard.press("Tab");
    const { target, isVisible, text } = await page.evaluate<Focus>(FOCUSED);
    if (target === undefined) continue;
    reached.add(target);
    if (!isVisible) wrong.push(`no visible focus: ${text}`);
  }
  for (let target = 0; target < count; target++) {
    if (reached.has(String(target))) continue;
    wrong.push(
      `not reached: ${await page.evaluate<string>(`document.querySelector('[data-target="${target}"]')?.outerHTML.slice(0, 120) ?? "gone"`)}`,
    );
  }
  return [...new Set(wrong)];
}

const focusedText = (page: Page) => page.evaluate<string>("document.activeElement.textContent.trim()");

for (const [name, options] of [
  ["wide", {}],
  ["phone", { phone: true }],
] as const) {
  t.test(`${name}: Tab reaches every action of the list and of a container, and the focus is visible`, async (t) => {
    const { base, containers } = await openMeasured(t);
    const { page, signIn, troubles } = await openConsole(t, base, options);
    t.same(await unreachable(page), [], "sign-in");
    await signIn(ADMIN_KEY);
    await page.getByRole("link", { name: "notebook" }).waitFor();
    t.same(await unreachable(page), [], "list");
    const id = containers[0]?.id ?? "";
    for (const [path, shows] of [
      [`containers/${id}`, "Cold starts"],
      [`containers/${id}/logs`, "No log lines."],
      [`containers/${id}/metrics`, "Requests per second"],
      [`containers/${id}/configuration`, "Environment"],
      ["overview", "Most requests"],
      ["images", "demo"],
    ] as const) {
      await page.evaluate(`location.hash = ${JSON.stringify(`#/${path}`)}`);
      await page.locator("main").getByText(shows).first().waitFor();
      t.same(await unreachable(page), [], path);
    }
    t.same(troubles, []);
  });
}

t.test("/ goes to the search, Escape closes menus and dialogs, and the focus returns to where it was", async (t) => {
  const { base, containers } = await openMeasured(t);
  const { page, signIn, troubles } = await openConsole(t, base);
  await signIn(ADMIN_KEY);
  await page.getByRole("link", { name: "notebook" }).waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("chem");
  t.equal(await page.getByLabel("Search containers").inputValue(), "chem");
  await page.getByRole("link", { name: "notebook" }).waitFor({ state: "detached" });
  await page.keyboard.type("/");
  t.equal(await page.getByLabel("Search containers").inputValue(), "chem/", "in a field it is a character");

  await page.goto(`${base}/#/containers/${containers[0]?.id ?? ""}`);
  const more = page.locator("summary", { hasText: "More" });
  await more.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Revalidate image" }).waitFor();
  await page.keyboard.press("Tab");
  t.equal(await focusedText(page), "Revalidate image");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Revalidate image" }).waitFor({ state: "hidden" });
  t.equal(await focusedText(page), "More", "focus returns from the menu");

  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  t.equal(await focusedText(page), "Remove…");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  t.same(await unreachable(page), [], "dialog");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  await eventually("focus returns from the dialog", async () => ((await focusedText(page)) === "More" ? true : undefined));
  t.same(troubles, []);
});

t.test("a button does not become another one under the pointer, and a refusal is a notice, not a text in the table", async (t) => {
  const { base, stand } = await openStates(t);
  const { page, signIn } = await openConsole(t, base, { at: "containers?group=sleeping" });
  await signIn(ADMIN_KEY);
  const row = page.getByRole("row").filter({ has: page.getByRole("link", { name: "stopped by system" }) });
  const button = row.getByRole("button");
  await button.click();
  await eventually("the start to be requested", () => stand.commands.some((command) => command.startsWith("start ")));
  const container = (await stand.store.containers.all()).find(({ state }) => state === "SYSTEM_STOPPED");
  for (const [from, to] of [
    ["SYSTEM_STOPPED", "PENDING_START"],
    ["PENDING_START", "STARTING"],
    ["STARTING", "STARTED"],
  ] as const)
    await stand.store.containers.move(container?.id ?? "", from, to, {});
  const moved = await stand.store.containers.find(container?.id ?? "");
  if (moved) stand.changes.publish(moved);
  await row.locator(".status", { hasText: "started" }).waitFor();
  t.match(await button.textContent(), /^Start/, "the button under the pointer stays what it was");
  t.ok(await button.isDisabled());
  await page.mouse.move(5, 5);
  await row.waitFor({ state: "detached" });

  await page.goto(`${base}/#/containers`);
  const failed = page.getByRole("row").filter({ has: page.getByRole("link", { name: "error", exact: true }) });
  const before = await failed.textContent();
  await page.route("**/api/docker/containers/*/run", (route) =>
    route.fulfill({ status: 409, contentType: "application/json", body: JSON.stringify({ message: "The image is not valid." }) }),
  );
  await failed.getByRole("button").click();
  await page.getByRole("alert").getByText("The image is not valid.").waitFor();
  t.equal(await failed.textContent(), before);
});

t.test("the form of a session that has ended stays, however often Escape is pressed", async (t) => {
  const { base } = await openStates(t);
  const { page, signIn, troubles } = await openConsole(t, base);
  await signIn(ADMIN_KEY);
  await page.getByRole("button", { name: "Start error" }).waitFor();
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Start error" }).click();
  const dialog = page.getByRole("dialog", { name: "Your session has ended" });
  await dialog.waitFor();
  for (let turn = 0; turn < 5; turn++) await page.keyboard.press("Escape");
  await signIn(ADMIN_KEY);
  await dialog.waitFor({ state: "detached" });
  t.same(troubles, []);
});
