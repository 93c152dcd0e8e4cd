import t from "tap";
import { isOfficeHour, storeWeeksOfUse } from "../../fixtures/weeks-of-use.ts";
import { ADMIN_KEY } from "../api/fixtures/open-api-fixture.ts";
import { checkPage } from "./fixtures/check-page.ts";
import { openMeasured } from "./fixtures/measured.ts";
import { openConsole } from "./fixtures/open-console.ts";

/** Of these a picture is kept. */
const VIEWS = ["light-390", "dark-390", "light-1280", "dark-1280", "light-2560"];

/** The container `chem-search` has office hours; the overview and its page say what that means. */
async function opened(t: import("tap").Test) {
  const measured = await openMeasured(t);
  const { server, containers } = measured;
  const [, container] = containers;
  const { id, config } = container ?? { id: "", config: { shutdownTimeoutMinutes: 5 } };
  const updated = { createdOn: 1, config: { ...config, shutdownTimeoutMinutes: 5 } } as Partial<NonNullable<typeof container>>;
  await server.store.containers.update(id, updated);
  await storeWeeksOfUse(server.store, id, Date.now(), isOfficeHour);
  await server.warmUps.learn();
  return { ...measured, id };
}

t.test("the overview suggests warm hours; the container's page has the button for them, and takes the decision back", async (t) => {
  const { base, server, id } = await opened(t);
  const { page, signIn, troubles, picture, openSection } = await openConsole(t, base);
  const check = async (name: string) =>
    t.strictSame(await checkPage(page, async (view) => (VIEWS.includes(view) ? picture(`warm-up-${name}-${view}`) : undefined)), [], name);
  await signIn(ADMIN_KEY);
  await openSection("Overview");
  const suggestions = page.getByRole("region", { name: "Suggestions" });
  await suggestions
    .getByText(/Keep chem-search warm on Mon-Fri 08:00-17:00 UTC\? In the last 4 weeks it would have saved 3\d\d cold starts/)
    .waitFor();
  t.match(await page.getByText("Saved by sleeping").locator("xpath=..").textContent(), /\d h.*GiB-hours of memory; ran for/);
  t.match(await page.getByText("Waited for starts", { exact: true }).locator("xpath=..").textContent(), /\d+ requests, together/);
  t.match(await page.getByRole("region", { name: "Longest waits for starts" }).textContent(), /molecule-docking/);
  await check("overview");

  await suggestions.getByRole("link", { name: "chem-search" }).click();
  const usual = page.getByRole("region", { name: "Usual hours" });
  await usual.getByText(/It was used on Mon-Fri 08:00-17:00 UTC in at least 3 of the last 4 weeks\. Kept warm then, it would have saved/).waitFor();
  await check("suggested");
  await usual.getByRole("button", { name: "Keep warm then" }).click();
  await usual.getByText(/It is kept warm on Mon-Fri 08:00-17:00 UTC, by decision of admin/).waitFor();
  t.match((await server.store.containers.find(id))?.warmUp, { hours: ["Mon-Fri 08:00-17:00 UTC"], by: "user" });
  await check("chosen");
  await usual.getByRole("button", { name: "Forget this decision" }).click();
  await usual.getByRole("button", { name: "Dismiss" }).click();
  await usual.getByText(/admin dismissed the suggestion/).waitFor();
  t.match((await server.store.containers.find(id))?.warmUp, { hours: { length: 0 }, by: "user" });

  await page.goto(`${base}/#/containers/${id}/metrics`);
  await page
    .getByRole("img", { name: /^Waiting for starts: / })
    .locator("canvas")
    .waitFor();
  await page.getByText("Saved by sleeping").waitFor();
  await check("metrics");
  t.same(troubles, []);
});
