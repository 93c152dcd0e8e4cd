import t from "tap";
import { CONTAINER_WIRE_STATES, type ContainerState, IMAGE_WIRE_STATES } from "../../../control/model/states.ts";
import { ADMIN_KEY } from "../api/fixtures/open-api-fixture.ts";
import { CONTAINER_STATES, IMAGE_STATES, openStates } from "./fixtures/every-state.ts";
import { openConsole } from "./fixtures/open-console.ts";

/** How each looks: a word, not a colour. */
const STATE_TEXTS: Record<ContainerState, string> = {
  PENDING_START: "moving",
  STARTING: "moving",
  STARTED: "good",
  CHECKING: "moving",
  PENDING_USER_STOP: "moving",
  PENDING_SYSTEM_STOP: "moving",
  STOPPING: "moving",
  USER_STOPPED: "resting",
  SYSTEM_STOPPED: "resting",
  ERROR: "bad",
};
/** What a person may do with a container in each of them. */
const BUTTONS: Record<ContainerState, string[]> = {
  PENDING_START: ["Stop"],
  STARTING: ["Stop"],
  STARTED: ["Stop"],
  CHECKING: ["Stop"],
  PENDING_USER_STOP: [],
  PENDING_SYSTEM_STOP: [],
  STOPPING: [],
  USER_STOPPED: ["Start"],
  SYSTEM_STOPPED: ["Start"],
  ERROR: ["Start"],
};

t.test(
  "every state of a container and of an image is shown in its own words, with what can be done in it, light and dark, wide and narrow",
  async (t) => {
    const { base } = await openStates(t);
    for (const [name, options] of [
      ["light", {}],
      ["dark", { dark: true }],
      ["phone", { phone: true }],
    ] as const) {
      const { page, troubles, signIn, openSection, picture } = await openConsole(t, base, options);
      await signIn(ADMIN_KEY);
      for (const state of CONTAINER_STATES) {
        const row = page.getByRole("row").filter({ has: page.getByRole("link", { name: CONTAINER_WIRE_STATES[state], exact: true }) });
        const status = row.locator(".status");
        t.equal(await status.textContent(), state === "SYSTEM_STOPPED" ? "sleeping" : CONTAINER_WIRE_STATES[state]);
        t.match(await status.getAttribute("class"), STATE_TEXTS[state], state);
        const buttons = await row.getByRole("button").allTextContents();
        t.same(
          buttons.map((text) =>
            text
              .split(/(?=\s)| /)[0]
              ?.replace(CONTAINER_WIRE_STATES[state], "")
              .trim(),
          ),
          BUTTONS[state],
          state,
        );
      }
      const wide = await page.evaluate<boolean>("document.documentElement.scrollWidth <= document.documentElement.clientWidth");
      t.ok(wide, `${name}: nothing sticks out to the side`);
      await picture(`containers-${name}`);
      await openSection("Images");
      await page.getByRole("heading", { name: "Images" }).waitFor();
      for (const state of IMAGE_STATES) await page.locator(".status", { hasText: IMAGE_WIRE_STATES[state] }).first().waitFor();
      await picture(`images-${name}`);
      t.same(troubles, []);
    }
  },
);

t.test("a container's page masks what looks secret, and what it shows of others is text, never markup", async (t) => {
  const { base, stand } = await openStates(t);
  const { page, signIn, picture, troubles } = await openConsole(t, base);
  await signIn(ADMIN_KEY);
  const container = (await stand.store.containers.all()).find(({ state }) => state === "ERROR");
  stand.logs.set(container?.service ?? "", ["<img src=x onerror=alert(1)>\n"]);
  await page.getByRole("link", { name: "error", exact: true }).click();
  await page.getByRole("link", { name: "Logs" }).click();
  await page.getByText("<img src=x onerror=alert(1)>").waitFor();
  await page.getByRole("link", { name: "Configuration" }).click();
  const environment = page.getByRole("region", { name: "Environment" });
  await environment.getByText("shown", { exact: true }).waitFor();
  t.equal(await page.getByText("never-shown").count(), 0);
  t.match(await environment.textContent(), /API_KEY\*\*\*/);
  await picture("container-error");
  t.same(troubles, []);
});

t.test("a console whose stream was refused, as while berth restarts, is live again by itself", async (t) => {
  const { base, stand } = await openStates(t);
  const { page, signIn } = await openConsole(t, base);
  let requests = 0;
  await page.route("**/api/docker/events*", (route) => (requests++ === 0 ? route.fulfill({ status: 503, body: "{}" }) : route.continue()));
  await signIn(ADMIN_KEY);
  const broken = page.getByText("Connection lost");
  await broken.waitFor();
  await broken.waitFor({ state: "detached" });
  const container = (await stand.store.containers.all()).find(({ state }) => state === "SYSTEM_STOPPED");
  const moved = await stand.store.containers.update(container?.id ?? "", { name: "moved" });
  if (moved) stand.changes.publish(moved);
  await page.getByRole("link", { name: "moved", exact: true }).waitFor();
});

t.test("times are relative to the server's clock, also in a browser whose clock is an hour behind", async (t) => {
  const { base } = await openStates(t);
  const { page, signIn, troubles } = await openConsole(t, base, { at: "images" });
  await page.clock.install({ time: Date.now() - 3_600_000 });
  await page.reload();
  await signIn(ADMIN_KEY);
  await page.locator("td time").first().waitFor();
  t.match(await page.locator("td time").first().innerText(), /^(now|\d+ seconds? ago)$/);
  t.same(troubles, []);
});
