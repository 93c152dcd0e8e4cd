import t from "tap";
import { ADMIN_KEY, openApiFixture } from "../api/fixtures/open-api-fixture.ts";
import { openStates } from "./fixtures/every-state.ts";
import { openConsole } from "./fixtures/open-console.ts";
import { listenForBrowsers } from "./fixtures/listen-for-browsers.ts";

t.test("the console begins with the overview, and its sections are a row of links", async (t) => {
  const base = await listenForBrowsers(t, await openApiFixture(t));
  const { page, signIn, picture, troubles } = await openConsole(t, base, { at: "" });
  await signIn(ADMIN_KEY);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  const sections = page.getByRole("navigation", { name: "Sections" });
  t.same(await sections.getByRole("link").allInnerTexts(), ["Overview", "Containers", "Packages", "Images", "Registry", "Administration"]);
  t.equal(await page.getByRole("button", { name: "Menu" }).isVisible(), false);
  await sections.getByRole("link", { name: "Administration" }).click();
  await page.getByRole("navigation", { name: "Administration" }).getByRole("link", { name: "Server" }).waitFor();
  await page.getByRole("heading", { name: "Server", exact: true }).waitFor();
  await picture("administration-wide");
  t.same(troubles, []);
});

for (const dark of [false, true]) {
  t.test(`on a phone a button opens the sections, with the keyboard too; ${dark ? "dark" : "light"}`, async (t) => {
    const base = await listenForBrowsers(t, await openApiFixture(t));
    const { page, signIn, picture, fits, troubles } = await openConsole(t, base, { phone: true, dark, at: "" });
    await signIn(ADMIN_KEY);
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    t.ok(await fits());
    const header = await page.locator("header").boundingBox();
    t.ok(header && header.height < 60, "one line");
    const menu = page.getByRole("button", { name: "Menu" });
    const sections = page.getByRole("navigation", { name: "Sections" });
    const focused = () => page.evaluate<string>("document.activeElement.textContent");
    t.equal(await sections.isVisible(), false);

    await menu.focus();
    await page.keyboard.press("Enter");
    await sections.waitFor();
    t.equal(await menu.getAttribute("aria-expanded"), "true");
    await page.keyboard.press("Tab");
    t.equal(await focused(), "Overview");
    t.ok(await fits());
    await picture(`menu-${dark ? "dark" : "light"}`);
    await page.keyboard.press("Escape");
    await sections.waitFor({ state: "hidden" });
    t.equal(await focused(), "Menu", "focus returns to the button");

    await page.keyboard.press("Enter");
    await sections.waitFor();
    await page.mouse.click(200, 780);
    await sections.waitFor({ state: "hidden" });

    await menu.click();
    await sections.getByRole("link", { name: "Server" }).press("Enter");
    await page.getByRole("heading", { name: "Server", exact: true }).waitFor();
    t.equal(await sections.isVisible(), false);
    t.equal(await page.evaluate("document.activeElement.id"), "main", "focus is in the page");
    t.ok(await fits());
    await picture(`server-phone-${dark ? "dark" : "light"}`);
    await menu.click();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Developer key").waitFor();
    t.same(troubles, []);
  });
}

t.test("the header is one line at every width, however long the login is; where the sections do not fit, they are a menu", async (t) => {
  const fixture = await openApiFixture(t);
  const base = await listenForBrowsers(t, fixture);
  const { user, key } = await fixture.addUser(`anna.${"long-name.".repeat(5)}w`);
  await fixture.store.users.update(user.id, { admin: true });
  const { page, signIn, picture, fits } = await openConsole(t, base, { at: "" });
  await signIn(key);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  const menu = page.getByRole("button", { name: "Menu" });
  const links = page.getByRole("navigation", { name: "Sections" });
  for (const width of [320, 390, 719, 720, 800, 950, 1023, 1024, 1100, 1280, 2560]) {
    await page.setViewportSize({ width, height: 800 });
    const header = await page.locator("header").boundingBox();
    t.ok(header && header.height < 70, `${width} px: ${header?.height} px high`);
    t.ok(await fits(), `${width} px: no wider than the window`);
    t.equal(await menu.isVisible(), width < 1_024, `${width} px: menu`);
    if (!(await menu.isVisible())) continue;
    await menu.click();
    await links.getByRole("link", { name: "Administration" }).waitFor();
    t.ok(await fits(), `${width} px: the menu fits`);
    await picture(`header-menu-${width}`);
    await page.keyboard.press("Escape");
  }
});

t.test("a user without administration starts at the overview too", async (t) => {
  const fixture = await openApiFixture(t);
  const base = await listenForBrowsers(t, fixture);
  const { key } = await fixture.addUser("bert");
  const { page, signIn } = await openConsole(t, base, { phone: true, at: "administration" });
  await signIn(key);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await page.getByRole("button", { name: "Menu" }).click();
  t.same(await page.getByRole("navigation", { name: "Sections" }).getByRole("link").allInnerTexts(), [
    "Overview",
    "Containers",
    "Packages",
    "Images",
    "Registry",
  ]);
});

t.test("a sign-out that fails is reported, and does not look like one", async (t) => {
  const { base } = await openStates(t);
  const { page, signIn, troubles } = await openConsole(t, base);
  await signIn(ADMIN_KEY);
  const signOut = page.getByRole("button", { name: "Sign out" });
  await page.route("**/console/sign-out", (route) => route.abort());
  await signOut.click();
  await page.getByRole("alert").getByText("berth is unreachable.").waitFor();
  await page.unroute("**/console/sign-out");
  await signOut.click();
  await page.getByLabel("Developer key").waitFor();
  t.notOk((await page.context().cookies()).some(({ name }) => name === "berth-console"));
  t.same(troubles, []);
});

t.test("a tab follows a sign-out and a sign-in in another tab, as another user too", async (t) => {
  const { stand, base } = await openStates(t);
  const { user } = await stand.addUser("bert");
  const { key } = await stand.identity.users.addKey(user.login, "");
  const { page, signIn, troubles } = await openConsole(t, base);
  await signIn(key);
  const who = page.locator("header .who");
  await who.getByText("bert").waitFor();
  const [other] = await Promise.all([page.waitForEvent("popup"), page.evaluate('void window.open(location.href, "_blank", "noopener")')]);
  await other.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("dialog", { name: "Your session has ended" }).waitFor();
  await other.getByLabel("Developer key").fill(ADMIN_KEY);
  await other.keyboard.press("Enter");
  await who.getByText("admin").waitFor();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await page.getByRole("navigation", { name: "Sections" }).getByRole("link", { name: "Administration" }).waitFor();
  await other.close();
  t.same(troubles, []);
});

t.test("a link to the console does nothing but show a page, whatever its address contains", async (t) => {
  const { stand, base } = await openStates(t);
  const started = (await stand.store.containers.all()).find(({ state }) => state === "STARTED");
  const image = (await stand.store.images.all()).find(({ state }) => state === "READY");
  const { page, signIn, troubles } = await openConsole(t, base);
  await signIn(ADMIN_KEY);
  await page.getByRole("link", { name: "started", exact: true }).waitFor();
  const requests: string[] = [];
  page.on("request", (request) => requests.push(new URL(request.url()).pathname));
  for (const [path, shows] of [
    [`containers/${started?.id}%2Fstop`, "is not a UUID"],
    [`containers/${started?.id}%2Fstop%3F`, "is not a UUID"],
    [`images/${image?.id}%2Frevalidate`, "is not a UUID"],
    ["containers/..%2Fimages", "is not a UUID"],
    ["containers/..", "There is nothing at this address."],
    [`packages/..%2F..%2Fdocker%2Fcontainers`, "There is nothing at this address."],
  ] as const) {
    await page.evaluate(`location.hash = ${JSON.stringify(`#/${path}`)}`);
    await page.getByRole("alert").getByText(shows).waitFor();
  }
  t.same(
    requests.filter((path) => /\/(?:stop|run|restart|revalidate)$/.test(path)),
    [],
  );
  t.same(stand.commands, []);
  t.same(troubles, []);
});
