import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import t, { type Test } from "tap";
import { openOidcProvider } from "../../../control/identity/oidc-provider.ts";
import { createOidcSignIn } from "../../../control/identity/oidc-sign-in.ts";
import { systemClock } from "../../../lib/clock.ts";
import { freePort } from "../../fixtures/server.ts";
import type { Availability } from "../../../gateway/contract.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { openOwn } from "../../gateway/registry/own-registry.ts";
import { ID, openStand, PATH } from "../../gateway/stand.ts";
import { appFiles } from "../../program/contract/stand.ts";
import { ADMIN_KEY, openApiFixture } from "../api/fixtures/open-api-fixture.ts";
import { checkPage } from "./fixtures/check-page.ts";
import { openStates } from "./fixtures/every-state.ts";
import { listenForBrowsers } from "./fixtures/listen-for-browsers.ts";
import { openMeasured } from "./fixtures/measured.ts";
import { goOffline, openPage, openConsole, watchTroubles } from "./fixtures/open-console.ts";

/** Of the folder that this names, a screenshot of each view is written: `LOOK=/tmp/look node test/control/console/every-page.test.ts`. */
const LOOK = process.env["LOOK"];

type Visit = {
  name: string;
  /** `:name` is an entity's id by its name. */
  path: string;
  /** Brings the page into its state; the test waits for the texts. */
  open?: (page: Page) => Promise<unknown>;
  /** What the page shows once it is complete. */
  shows?: string | RegExp;
  /** Leaves the state, where another path alone does not. */
  leave?: (page: Page) => Promise<unknown>;
};

const button = (name: string | RegExp) => async (page: Page) => page.getByRole("button", { name, exact: true }).first().click();
const menu = (label: string) => async (page: Page) => page.locator("summary", { hasText: label }).first().click();
const escape = async (page: Page) => page.keyboard.press("Escape");

/** Of a whole berth with a registry, as an administrator. A new page is one more line here. */
const BERTH: readonly Visit[] = [
  { name: "containers", path: "containers", shows: "app-web" },
  {
    name: "containers, selected",
    path: "containers",
    open: (page) => page.getByLabel("Select app-web").check(),
    shows: "1 selected",
    leave: (page) => page.getByRole("button", { name: "Clear" }).click(),
  },
  {
    name: "containers, removal",
    path: "containers",
    open: async (page) => {
      await page.getByLabel("Select app-web").check();
      await page.getByRole("button", { name: "Remove…" }).click();
    },
    shows: "Remove 1 container?",
    leave: async (page) => {
      await escape(page);
      await page.getByRole("button", { name: "Clear" }).click();
    },
  },
  { name: "containers, no match", path: "containers?search=zzz", shows: "No containers match." },
  { name: "container, started", path: "containers/:app-web", shows: "accepts connections" },
  { name: "container, copy menu", path: "containers/:app-web", open: menu("Copy"), shows: "Copy curl command", leave: escape },
  { name: "container, more menu", path: "containers/:app-web", open: menu("More"), shows: "Revalidate image", leave: escape },
  {
    name: "container, removal",
    path: "containers/:app-web",
    open: async (page) => {
      await menu("More")(page);
      await button("Remove…")(page);
    },
    shows: "Remove app-web?",
    leave: escape,
  },
  { name: "container, logs", path: "containers/:app-web/logs", shows: "version one speaks" },
  { name: "container, metrics", path: "containers/:app-web/metrics", shows: "Requests per second" },
  { name: "container, requests", path: "containers/:app-web/requests" },
  { name: "container, configuration", path: "containers/:app-web/configuration", shows: "As written" },
  { name: "container, history", path: "containers/:app-web/history", shows: "start requested" },
  { name: "container, sleeping", path: "containers/:app-asleep" },
  { name: "container, failed", path: "containers/:app-broken", shows: "no licence found" },
  { name: "container, starting", path: "containers/:app-slow", shows: "so far" },
  { name: "container, unknown", path: "containers/00000000-0000-4000-8000-000000000000", shows: /There is no container/ },
  {
    name: "opening a container again",
    path: "containers/:app-asleep",
    // As by a browser that comes back at once, because it did not keep the edge's cookie.
    open: (page) =>
      page.evaluate(`(([, id]) => {
        sessionStorage.setItem("opened " + id, String(Date.now()));
        location.hash = "#/open/" + id;
      })(/containers\\/([^/]+)/.exec(location.hash))`),
    shows: "The browser did not keep the session.",
  },
  { name: "images", path: "images", shows: "datagrok" },
  { name: "image", path: "images/:image-app-web", shows: "Reference" },
  { name: "registry", path: "registry", shows: "datagrok/app" },
  { name: "repository", path: "registry/datagrok%2Fapp", shows: "2.0.0" },
  { name: "overview", path: "overview", shows: "Most requests" },
  { name: "administration", path: "administration", shows: "Backend" },
  { name: "server", path: "administration/server", shows: "signs docker tokens" },
  { name: "packages", path: "packages", shows: "admin" },
  { name: "package", path: "packages/app", shows: "current" },
  { name: "audit log", path: "administration/audit", shows: "datagrok/app:2.0.0" },
  { name: "settings", path: "administration/settings", shows: "BERTH_WORKERS" },
  { name: "registry storage", path: "administration/registry", shows: "Start a dry run" },
  { name: "processes", path: "administration/control", shows: "There is one control process" },
  { name: "webhooks", path: "administration/webhooks", shows: "No webhooks." },
  { name: "webhooks, new one", path: "administration/webhooks", open: button("Add webhook…"), shows: "Add a webhook", leave: escape },
  { name: "orphans", path: "administration/orphans", shows: "No orphans." },
  { name: "users", path: "administration/users", shows: "administrator" },
  { name: "users, new one", path: "administration/users", open: button("Add user…"), shows: "Add a user", leave: escape },
  { name: "user", path: "administration/users/admin", shows: "this session" },
  { name: "user, unknown", path: "administration/users/unknown", shows: "There is no user unknown." },
  { name: "groups", path: "administration/groups", shows: "lab" },
  { name: "group", path: "administration/groups/lab", shows: "Add member…" },
  { name: "developer keys", path: "administration/keys", shows: "from the settings" },
  {
    name: "developer keys, created one",
    path: "administration/keys",
    open: async (page) => {
      await button("Create key…")(page);
      await page.getByLabel("User").fill("admin");
      await button("Create")(page);
    },
    shows: "Copy the key now.",
    leave: (page) => page.getByRole("button", { name: "Done" }).click(),
  },
  { name: "sessions", path: "administration/sessions", shows: "this session" },
  { name: "credentials", path: "administration/credentials", shows: "Variables of its containers" },
  { name: "credentials, form", path: "administration/credentials", open: button(/^Set…/), shows: "Set credentials of app", leave: escape },
  { name: "trusted publishers, none", path: "administration/trusted-publishers", shows: "No trusted publishers." },
  {
    name: "trusted publishers, new one",
    path: "administration/trusted-publishers",
    open: button("Add publisher…"),
    shows: "Add a trusted publisher",
    leave: escape,
  },
  {
    name: "trusted publishers",
    path: "administration/trusted-publishers",
    open: async (page) => {
      await button("Add publisher…")(page);
      for (const [label, value] of [
        ["Name", "release"],
        ["Claims", "repository=acme/plugins ref=refs/heads/main"],
        ["User", "admin"],
        ["Packages", "@acme/plugins"],
      ] as const)
        await page.getByLabel(label, { exact: true }).fill(value);
      await page.getByRole("button", { name: "Add", exact: true }).click();
    },
    shows: "repository=acme/plugins",
  },
  { name: "signing keys", path: "administration/signing-keys", shows: "signs tokens" },
  { name: "profile", path: "profile", shows: "this session" },
];

/** With an hour of measurements. */
const MEASURED: readonly Visit[] = [
  { name: "overview with charts", path: "overview", shows: "Most requests" },
  { name: "container, metrics with charts", path: "containers/:molecule-docking/metrics", shows: "Requests per second" },
  { name: "container, last requests", path: "containers/:molecule-docking/requests", shows: "/predict" },
];

/** Without anything, and with a network and a server that fail. */
const EMPTY: readonly Visit[] = [
  { name: "no containers", path: "containers", shows: "No containers." },
  { name: "nothing in the overview", path: "overview", shows: "No containers." },
  { name: "no images", path: "images", shows: "No images." },
  { name: "no registry", path: "registry" },
  {
    name: "offline",
    path: "containers",
    open: goOffline,
    shows: "You are offline.",
    leave: (page) => page.context().setOffline(false),
  },
  {
    name: "a list that does not load",
    path: "images",
    open: async (page) => {
      await page.route("**/api/docker/containers/rows*", (route) => route.abort());
      await page.evaluate('location.hash = "#/containers"');
    },
    shows: "berth is unreachable.",
    leave: (page) => page.unroute("**/api/docker/containers/rows*"),
  },
];

/** How a session ends. */
const ENDED: readonly Visit[] = [
  {
    name: "stream of changes lost",
    path: "containers",
    open: async (page) => {
      await page.route("**/api/docker/events*", (route) => route.fulfill({ status: 503, body: "{}" }));
      await page.reload();
    },
    shows: "Connection lost. Reconnecting…",
  },
  {
    name: "slow network",
    path: "overview",
    // As a request of the page does after four seconds without a response.
    open: (page) => page.evaluate('dispatchEvent(new Event("berth-slow-request"))'),
    shows: "Slow connection",
  },
  {
    name: "failed action",
    path: "containers",
    open: async (page) => {
      await page.route("**/api/docker/containers/*/run", (route) =>
        route.fulfill({ status: 409, contentType: "application/json", body: JSON.stringify({ message: "The image of error is not valid." }) }),
      );
      await page.getByRole("button", { name: "Start error" }).click();
    },
    shows: "The image of error is not valid.",
    leave: (page) => page.getByRole("button", { name: "Close" }).click(),
  },
  {
    name: "session ended",
    path: "containers",
    open: async (page) => {
      await page.unroute("**/api/docker/containers/*/run");
      await page.context().clearCookies();
      await page.getByRole("button", { name: "Start error" }).click();
    },
    shows: "Your session has ended",
  },
];

/** With a container and an image in each state. */
const STATES: readonly Visit[] = [
  { name: "every state", path: "containers", shows: "checking" },
  { name: "every state of images", path: "images", shows: "of-ready" },
];

/** A user without administration. */
const USER: readonly Visit[] = [
  { name: "containers of others", path: "containers", shows: "app-web" },
  { name: "container of others", path: "containers/:app-web", shows: "can start and stop this container" },
  { name: "logs of others", path: "containers/:app-web/logs", shows: "can start and stop this container" },
  { name: "a user's profile", path: "profile", shows: "this session" },
  { name: "a user's empty overview", path: "overview", shows: "You have no containers." },
];

/** Ids by their names, for paths. */
type Ids = Readonly<Record<string, string>>;

const addressOf = (path: string, ids: Ids) => path.replaceAll(/:([\w-]+)/g, (_, name: string) => ids[name] ?? `unknown-${name}`);

const SETTLED = `!document.querySelector(".waiting, [aria-busy=true]") && [...document.querySelectorAll(".plot[role=img]")].every((plot) => plot.querySelector("canvas"))`;

const settled = (page: Page) => eventually("the page is complete", async () => ((await page.evaluate<boolean>(SETTLED)) ? true : undefined));

/** Every route that the pages link to, with ids replaced: each must be in a list above. */
const linked = new Set<string>();
const visitedRoutes = new Set<string>();
const routeOf = (hash: string) =>
  hash
    .replace(/^#?\/?/, "")
    .replace(/\?.*$/, "")
    .replaceAll(/[\da-f]{8}-[\da-f-]{27}/g, ":id")
    .replace(/^(registry|packages)\/.+/, "$1/:name")
    .replace(/^(administration\/(?:users|groups))\/.+/, "$1/:name");

function photographer(page: Page, name: string, fullPage: boolean) {
  return async (view: string) => {
    if (LOOK === undefined) return;
    mkdirSync(LOOK, { recursive: true });
    await page.screenshot({ path: join(LOOK, `${name.replaceAll(/\W+/g, "-")}-${view}.png`), fullPage });
  };
}

async function shown(page: Page, name: string, text: string | RegExp): Promise<void> {
  try {
    await page.locator("#app").getByText(text).first().waitFor();
  } catch (error) {
    throw new Error(`${name}: the page shows ${(await page.locator("main").innerText()).slice(0, 2_000)}`, { cause: error });
  }
}

async function visitAll(t: Test, base: string, key: string, visits: readonly Visit[], ids: Ids): Promise<void> {
  const { page, signIn, troubles } = await openConsole(t, base);
  await signIn(key);
  await page.locator("header").waitFor();
  for (const { name, path, open, shows, leave } of visits) {
    const began = performance.now();
    const hash = `#/${addressOf(path, ids)}`;
    await page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
    await settled(page);
    await open?.(page);
    if (shows !== undefined) await shown(page, name, shows);
    await settled(page);
    visitedRoutes.add(routeOf(await page.evaluate<string>("location.hash")));
    t.same(await checkPage(page, photographer(page, name, open === undefined)), [], name);
    t.match(await page.title(), / · berth$|^berth$/, `${name}: title`);
    t.same(troubles.splice(0), [], `${name}: errors in the browser's console`);
    for (const link of await page.evaluate<string[]>(`[...document.querySelectorAll('a[href^="#/"]')].map(({ hash }) => hash)`))
      linked.add(routeOf(link));
    await leave?.(page);
    t.comment(`${name}: ${Math.round(performance.now() - began)} ms`);
  }
}

t.test("every page of a berth with a registry", async (t) => {
  const { berth, push } = await openOwn(t);
  await push("datagrok/app", "1.0.0", "a layer");
  await push("datagrok/app", "2.0.0", "another layer");
  const slow = appFiles("slow", "1", { on_demand: true });
  const published = await berth.publish("app", {
    "package.json": JSON.stringify({ name: "app", version: "1.0.0" }),
    ...appFiles("web", "one", { on_demand: true, shutdown_timeout: 5, env: { MODEL: "solubility-v3", API_KEY: "hidden" } }),
    ...appFiles("asleep", "one", { on_demand: true }),
    ...appFiles("broken", "1", { on_demand: true }),
    "dockerfiles/broken/server.cjs": 'console.error("no licence found"); process.exit(3);',
    ...slow,
    "dockerfiles/slow/server.cjs": "setInterval(() => {}, 1_000);",
  });
  t.equal(published.status, 200);
  const ids: Record<string, string> = {};
  for (const name of ["app-web", "app-asleep", "app-broken", "app-slow"]) {
    const { id, dockerfile } = await berth.container(name);
    ids[name] = id;
    ids[`image-${name}`] = dockerfile.id;
  }
  await berth.call(`/docker/containers/proxy/${ids["app-web"] ?? ""}/`);
  for (const name of ["app-broken", "app-slow"]) await berth.call(`/docker/containers/${ids[name] ?? ""}/run`);
  await berth.until("app-broken", ["error"]);
  await berth.call("/admin/groups/lab/members/admin", { method: "PUT" });
  await visitAll(t, berth.base, berth.key, BERTH, ids);

  const post = (body: object) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  await berth.call("/users", post({ login: "bert" }));
  const { key } = (await (await berth.call("/users/bert/keys", post({}))).json()) as { key: string };
  await visitAll(t, berth.base, key, USER, ids);
  for (const name of ["app-web", "app-slow"]) await berth.call(`/docker/containers/${ids[name] ?? ""}/stop?awaitStop=true`);
});

t.test("pages with measurements", async (t) => {
  const { base, server, containers } = await openMeasured(t);
  const ids = Object.fromEntries(containers.map(({ id, name }) => [name, id]));
  const id = containers[0]?.id ?? "";
  server.recent.set(
    id,
    ["/predict", "/models/42", "/a/very/long/path/that/does/not/fit/into/a/narrow/column/of/a/table/".repeat(2)].map((path, index) => ({
      at: Date.now() - 1_000 * index,
      method: "POST",
      path: `/api/docker/containers/proxy/${id}${path}`,
      status: [200, 500, 404][index] ?? 0,
      ms: 12.4 * (1 + index),
      login: "anna",
    })),
  );
  await visitAll(t, base, ADMIN_KEY, MEASURED, ids);
});

t.test("pages with nothing to show", async (t) => visitAll(t, await listenForBrowsers(t, await openApiFixture(t)), ADMIN_KEY, EMPTY, {}));

t.test("pages with every state, and the end of a session", async (t) => {
  const { base } = await openStates(t);
  await visitAll(t, base, ADMIN_KEY, [...STATES, ...ENDED], {});
});

t.test("before the sign-in, and the menu of a phone", async (t) => {
  const base = await listenForBrowsers(t, await openApiFixture(t));
  const { page, signIn, troubles } = await openConsole(t, base, { phone: true });
  await page.getByLabel("Developer key").waitFor();
  t.same(await checkPage(page, photographer(page, "sign-in", false)), []);
  await signIn("wrong");
  await page.getByRole("alert").waitFor();
  t.same(await checkPage(page, photographer(page, "sign-in, wrong key", false)), []);
  await page.setViewportSize({ width: 390, height: 900 });
  await signIn(ADMIN_KEY);
  await page.getByRole("button", { name: "Menu" }).click();
  t.same(await checkPage(page, photographer(page, "menu", false)), []);
  t.same(troubles, []);
  const away = await openConsole(t, base);
  await away.page.route("**/console/rooms", (route) => route.abort());
  await away.page.reload();
  await away.page.getByText("berth is unreachable.").waitFor();
  t.same(await checkPage(away.page, photographer(away.page, "unreachable", false)), []);
});

t.test("the sign-in with a provider, which is away", async (t) => {
  const issuer = `http://127.0.0.1:${await freePort()}`;
  const server = await openApiFixture(t, {}, systemClock(), ({ store, identity, vault, clock, log }) => {
    const client = {
      id: "default",
      issuer,
      name: "Example Login",
      settingOf: (field: string) => field,
      signsOut: true,
      clientId: "berth",
      clientSecret: undefined,
      scopes: ["openid"],
      claims: [],
    };
    const provider = openOidcProvider(client, { clock, log });
    t.teardown(provider.close);
    const rules = {
      loginClaim: "sub",
      groupsClaim: "groups",
      allowedGroups: ["*"],
      adminGroups: [],
      groups: [],
      createUsers: true,
      linkUsers: false,
      sessionMs: 60_000,
    };
    return { oidc: [createOidcSignIn({ provider, rules, store, identity, vault, clock, log })] };
  });
  const base = await listenForBrowsers(t, server);
  const { page, signIn, troubles } = await openConsole(t, base);
  const button = page.getByRole("button", { name: "Sign in with Example Login" });
  await button.waitFor();
  t.same(await checkPage(page, photographer(page, "sign-in, provider", false)), []);
  await button.click();
  await page.getByRole("alert").getByText("Developer keys work as before.").waitFor();
  t.same(await checkPage(page, photographer(page, "sign-in, provider away", false)), []);
  await page.goto(`${base}/console/signed-in?code=x&state=x`);
  await page.getByRole("alert").waitFor();
  t.same(await checkPage(page, photographer(page, "sign-in, refused", false)), []);
  await signIn(ADMIN_KEY);
  await page.getByRole("button", { name: "Sign out" }).waitFor();
  await page.context().clearCookies();
  await page.evaluate("dispatchEvent(new Event('berth-session-ended'))");
  await page.getByRole("dialog", { name: "Your session has ended" }).waitFor();
  t.same(await checkPage(page, photographer(page, "session ended, provider", false)), []);
  t.same(troubles, []);
});

const CRASHED = { code: "CONTAINER_CRASHED", message: "It ended before it was ready, exit code 1. Read its log tail." } as const;

/** What a browser sees at a container's address. */
const GATEWAY: readonly { name: string; availability: Availability; shows: string; path?: string }[] = [
  { name: "waiting for its turn", availability: { kind: "coming", step: "queue" }, shows: "Waiting for its image and its turn" },
  {
    name: "waiting for the pull",
    availability: { kind: "coming", step: "start", pull: { done: 42_000_000, total: 107_000_000 } },
    shows: "Pulling its image: 42 of 107 MB",
  },
  {
    name: "waiting, not reachable",
    availability: { kind: "coming", step: "start", phase: "boot", note: "The process listens on 127.0.0.1:5000: listen on 0.0.0.0." },
    shows: "listen on 0.0.0.0",
  },
  {
    name: "did not start",
    availability: {
      kind: "failed",
      fault: { ...CRASHED, logs: Array.from({ length: 30 }, (_, line) => `line ${line} ${"of a trace ".repeat(12)}`) },
      wakeable: true,
      retryAt: Date.now() + 3_600_000,
    },
    shows: "exit code 1",
  },
  {
    name: "stopped by its user",
    availability: { kind: "stopped", fault: { code: "CONTAINER_STOPPED", message: "A user stopped it." } },
    shows: "A user stopped it.",
  },
  { name: "without a port", availability: { kind: "portless" }, shows: "exposes no port" },
  // Nothing listens there.
  { name: "not answering", availability: { kind: "awake", addresses: [{ host: "127.0.0.1", port: 1 }] }, shows: "Container unreachable" },
  {
    name: "not found",
    availability: { kind: "portless" },
    path: "/api/docker/containers/proxy/00000000-0000-4000-8000-000000000000/",
    shows: "There is no container",
  },
];

t.test("what the gateway shows to browsers while there is no response", async (t) => {
  const [css, js] = ["gateway/waiting/page.css", "gateway/waiting/page.js"].map((path) => readFileSync(path, "utf8"));
  const gateway = await openStand(t, { waitingFiles: { css: css ?? "", js: js ?? "" } });
  const page = await openPage();
  t.teardown(() => page.close());
  const troubles = watchTroubles(page);
  await page.context().addCookies([{ name: "auth", value: "token", url: gateway.base }]);
  for (const { name, availability, shows, path = PATH } of GATEWAY) {
    gateway.set(ID, availability, { queue: 1, create: 1_000, boot: 3_000 });
    await page.goto(`${gateway.base}${path}`);
    await page.getByText(shows).first().waitFor();
    t.same(await checkPage(page, photographer(page, name, true)), [], name);
  }
  t.same(troubles, []);
});

t.test("every route that a page links to is in the lists", async (t) => {
  t.same(
    [...linked].filter((route) => route !== "" && !visitedRoutes.has(route)),
    [],
  );
});
