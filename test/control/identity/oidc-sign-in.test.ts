import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import { decodeJwt } from "jose";
import t, { type Test } from "tap";
import { DEFAULT_PROVIDER, openOidcProvider } from "../../../control/identity/oidc-provider.ts";
import { createOidcSignIn, mapClaims, type OidcRules, type OidcSignIn, type OidcSignInDeps } from "../../../control/identity/oidc-sign-in.ts";
import { tokenDigest } from "../../../control/identity/sessions.ts";
import { Fault, type FaultCode } from "../../../lib/fault.ts";
import { openLog } from "../../../lib/log.ts";
import { type Clock, systemClock } from "../../../lib/clock.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { openApiDeps, openApiFixture } from "../api/fixtures/open-api-fixture.ts";
import { FORGED_CLIENT, FORGED_SECRET, type ForgingProvider, startForgingProvider, type TokenChanges } from "./fixtures/forging-provider.ts";

const RULES: OidcRules = {
  loginClaim: "preferred_username",
  groupsClaim: "groups",
  allowedGroups: ["*"],
  adminGroups: [],
  groups: [],
  createUsers: true,
  linkUsers: false,
  sessionMs: 3_600_000,
};
const PATH = "/console/signed-in";
const REDIRECT = `http://127.0.0.1:8081${PATH}`;
const PEER = "192.0.2.1";

async function openStoreDeps(t: Test, clock: Clock) {
  const { deps, close, store, identity } = await openApiDeps({}, clock);
  t.teardown(close);
  return { store, identity, vault: deps.vault };
}

/** `shared`: the store of another one, beside whose provider this is the provider `partners`. */
async function openSignIn(t: Test, rules: Partial<OidcRules> = {}, clock = systemClock(), shared?: Awaited<ReturnType<typeof openStoreDeps>>) {
  const forging = await startForgingProvider(t);
  const { store, identity, vault } = shared ?? (await openStoreDeps(t, clock));
  const log = openLog({ level: "silent", name: "test" });
  const provider = openOidcProvider(
    {
      id: shared === undefined ? DEFAULT_PROVIDER : "partners",
      issuer: forging.issuer,
      name: "Forge",
      settingOf: (field) => field,
      signsOut: true,
      clientId: FORGED_CLIENT,
      clientSecret: FORGED_SECRET,
      scopes: ["openid"],
      claims: ["preferred_username"],
    },
    { clock, log },
  );
  t.teardown(provider.close);
  const open = (changed: Partial<OidcRules>) => createOidcSignIn({ provider, rules: { ...RULES, ...changed }, store, identity, vault, clock, log });
  return { forging, store, identity, vault, provider, open, signIn: open(rules) };
}

/** As a browser that comes back from the provider at once. */
async function signInWith(
  { signIn, forging }: { signIn: OidcSignIn; forging: ForgingProvider },
  changes: TokenChanges & { search?: (right: URLSearchParams) => string } = {},
) {
  const { url, sealed, state } = await signIn.begin(REDIRECT);
  forging.state(changes, new URL(url).searchParams.get("nonce") ?? "");
  const right = new URLSearchParams({ code: "a-code", state });
  return signIn.finish({ sealed, path: PATH, search: `?${changes.search?.(right) ?? right.toString()}` }, undefined);
}

t.test("the request to the provider has PKCE, state and nonce, and the code is exchanged with the verifier and the secret", async (t) => {
  const opened = await openSignIn(t);
  const { url } = await opened.signIn.begin(REDIRECT);
  t.match(Object.fromEntries(new URL(url).searchParams), {
    response_type: "code",
    client_id: FORGED_CLIENT,
    redirect_uri: REDIRECT,
    code_challenge_method: "S256",
    code_challenge: /^[\w-]{43}$/,
    state: /^[\w-]{43}$/,
    nonce: /^[\w-]{43}$/,
  });
  const { token, user, isNew } = await signInWith(opened);
  t.match({ user, isNew }, { user: { login: "anna", admin: false, oidcSubject: "id-of-anna" }, isNew: true });
  t.match(await opened.identity.who(token, "console"), { login: "anna" });
  t.equal(await opened.identity.who(token), undefined, "the console's session is not valid at the edge");
  const exchange = opened.forging.requests.find(({ path }) => path === "/token");
  t.match(exchange?.body, /code_verifier=[\w-]{43}/);
  t.match(exchange?.authorization, /^Basic /);
  t.notMatch(exchange?.body, FORGED_SECRET);
});

const FORGED: Record<string, TokenChanges & { search?: (right: URLSearchParams) => string }> = {
  "another state": { search: (right) => new URLSearchParams({ ...Object.fromEntries(right), state: "of-another-sign-in" }).toString() },
  "no state": { search: () => "code=a-code" },
  "two states": { search: (right) => `${right.toString()}&state=${right.get("state")}` },
  "another issuer in the address": { search: (right) => `${right.toString()}&iss=https://elsewhere.example` },
  "an error": { search: (right) => `error=access_denied&state=${right.get("state")}` },
  "another nonce": { claims: { nonce: "of-another-sign-in" } },
  "no nonce": { claims: { nonce: undefined } },
  "the signature of another key": { by: "other key" },
  "no signature": { by: "none" },
  "a signature by the client's secret": { by: "client secret" },
  "another audience": { claims: { aud: "another-client" } },
  "several audiences, and another client as its party": { claims: { aud: [FORGED_CLIENT, "other"], azp: "other" } },
  "another issuer": { claims: { iss: "https://elsewhere.example" } },
  "no subject": { claims: { sub: undefined } },
  "an end 2 minutes ago": { expires: -120 },
  "a beginning in 2 minutes": { claims: { nbf: Math.floor(Date.now() / 1_000) + 120 } },
};
for (const [what, changes] of Object.entries(FORGED)) {
  t.test(`an answer with ${what} signs no one in`, async (t) => {
    const opened = await openSignIn(t);
    await t.rejects(signInWith(opened, changes), { code: "SIGN_IN_FAILED" });
    t.equal((await opened.store.users.all()).length, 1);
  });
}

t.test("a clock that differs by half a minute is no failure", async (t) => {
  t.match(await signInWith(await openSignIn(t), { expires: -30 }), { user: { login: "anna" } });
});

t.test("what finishes a sign-in is sealed, for one purpose and a quarter of an hour", async (t) => {
  const clock = createStillClock(Date.now());
  const opened = await openSignIn(t, {}, clock);
  const { signIn, forging } = opened;
  const { sealed, state } = await signIn.begin(REDIRECT);
  const search = `?code=a-code&state=${state}`;
  const flipped = `${sealed.slice(0, -6)}${sealed.endsWith("AAAAAA") ? "BBBBBB" : "AAAAAA"}`;
  const { handle } = await signIn.beginDevice(PEER);
  for (const wrong of ["", ".", "no.thing", flipped, handle, "x".repeat(4_000)])
    await t.rejects(signIn.finish({ sealed: wrong, path: PATH, search }, undefined), { code: "SIGN_IN_FAILED" });
  await t.rejects(signIn.finishDevice(sealed, PEER), { code: "SIGN_IN_FAILED" });
  t.notMatch(Buffer.from(sealed.split(".")[2] ?? "", "base64").toString("latin1"), state);
  await clock.advance(15 * 60_000);
  await t.rejects(signIn.finish({ sealed, path: PATH, search }, undefined), { code: "SIGN_IN_FAILED" });
  t.notOk(forging.requests.some(({ path }) => path === "/token"));
});

t.test("to begin a sign-in, for which no credential is needed, writes nothing into the store", async (t) => {
  const { signIn, store } = await openSignIn(t);
  await signIn.begin(REDIRECT);
  let writes = 0;
  const { transaction } = store;
  store.transaction = (work, options) => {
    writes++;
    return transaction(work, options);
  };
  for (let nth = 0; nth < 3; nth++) await signIn.begin(REDIRECT);
  await signIn.beginDevice(PEER);
  t.equal(writes, 0);
});

t.test("another control process with the same store finishes what one began", async (t) => {
  const opened = await openSignIn(t);
  const { url, sealed, state } = await opened.signIn.begin(REDIRECT);
  opened.forging.state({}, new URL(url).searchParams.get("nonce") ?? "");
  t.match(await opened.open({}).finish({ sealed, path: PATH, search: `?code=a-code&state=${state}` }, undefined), { user: { login: "anna" } });
});

t.test("responses of a provider are bounded, and its redirects lead nowhere", async (t) => {
  const opened = await openSignIn(t);
  const { forging } = opened;
  const rejected = async (path: string, answer: Parameters<typeof forging.answers.set>[1], code: FaultCode) => {
    forging.answers.set(path, answer);
    await t.rejects(signInWith(opened), { code });
    forging.answers.delete(path);
  };
  await rejected("/token", (_request, response) => forging.json(response, { access_token: "x".repeat(300_000) }), "SIGN_IN_PROVIDER_AWAY");
  await rejected("/token", (_request, response) => forging.json(response, {}, 503), "SIGN_IN_PROVIDER_AWAY");
  await rejected("/token", (_request, response) => response.writeHead(302, { location: "/elsewhere" }).end(), "SIGN_IN_FAILED");
  await rejected("/token", (_request, response) => response.writeHead(200, { "content-type": "text/html" }).end("<p>hello"), "SIGN_IN_FAILED");
  await rejected("/token", (_request, response) => forging.json(response, { error: "invalid_grant" }, 400), "SIGN_IN_FAILED");
  await rejected("/token", (_request, response) => forging.json(response, { error: "invalid_client" }, 401), "SIGN_IN_FAILED");
  await rejected("/token", (_request, response) => response.destroy(), "SIGN_IN_PROVIDER_AWAY");
  t.notOk(forging.requests.some(({ path }) => path === "/elsewhere"));
  t.match(await signInWith(opened), { user: { login: "anna" } }, "it works again");
});

t.test("no key of the provider, no sign-in", async (t) => {
  const opened = await openSignIn(t);
  opened.forging.answers.set("/jwks", (_request, response) => opened.forging.json(response, { keys: [] }));
  await t.rejects(signInWith(opened), { code: "SIGN_IN_FAILED" });
});

t.test("user info of another subject is refused", async (t) => {
  const opened = await openSignIn(t);
  opened.forging.answers.set("/userinfo", (_request, response) => opened.forging.json(response, { sub: "id-of-eve", preferred_username: "eve" }));
  await t.rejects(signInWith(opened, { claims: { preferred_username: undefined } }), { code: "SIGN_IN_FAILED" });
});

t.test("a provider that sends nothing is given up after 10 s, and is tried again after a pause", async (t) => {
  const clock = createStillClock(Date.now());
  const { signIn, forging } = await openSignIn(t, {}, clock);
  const document = "/.well-known/openid-configuration";
  const requested = () => forging.requests.filter(({ path }) => path === document).length;
  forging.answers.set(document, (_request, response) => void response.writeHead(200, { "content-type": "application/json" }).write("{"));
  const first = t.rejects(signIn.begin(REDIRECT), { code: "SIGN_IN_PROVIDER_AWAY" });
  await eventually("a request", async () => requested() === 1 || undefined);
  await clock.advance(10_000);
  await first;
  await t.rejects(signIn.begin(REDIRECT), { code: "SIGN_IN_PROVIDER_AWAY" });
  t.equal(requested(), 1, "the pause after a failure");
  await clock.advance(5_000);
  forging.answers.set(document, (_request, response) => forging.json(response, { ...forging.document(), issuer: "https://elsewhere.example" }));
  await t.rejects(signIn.begin(REDIRECT), { code: "SIGN_IN_PROVIDER_AWAY" }, "the document of another issuer");
  t.equal(requested(), 2);
  await clock.advance(30_000);
  forging.answers.delete(document);
  t.match(await signIn.begin(REDIRECT), { url: /authorize/ });
  await signIn.begin(REDIRECT);
  t.equal(requested(), 3, "its document is kept");
});

t.test("a provider that is slow at any of its addresses is away: that is no failure of the user, whose address it would count against", async (t) => {
  const clock = createStillClock(Date.now());
  // The libraries have limits of their own. Timers of one moment run in the order in which they were set.
  const timeout = (ms: number) => {
    const late = new AbortController();
    clock.after(ms, () => late.abort(new DOMException("late", "TimeoutError")));
    return late.signal;
  };
  t.intercept(AbortSignal, "timeout", { value: timeout });
  const opened = await openSignIn(t, {}, clock);
  const { forging } = opened;
  await signInWith(opened);
  for (const path of ["/token", "/userinfo"]) {
    const requested = Promise.withResolvers<void>();
    forging.answers.set(path, () => requested.resolve());
    const slow = t.rejects(signInWith(opened, { claims: { preferred_username: undefined } }), { code: "SIGN_IN_PROVIDER_AWAY" }, path);
    await requested.promise;
    await clock.advance(10_000);
    await slow;
    forging.answers.delete(path);
  }
});

t.test("a provider that writes its issuer with a slash at the end is the one that the settings write without it", async (t) => {
  const opened = await openSignIn(t);
  const { forging, identity, provider } = opened;
  const written = `${forging.issuer}/`;
  forging.answers.set("/.well-known/openid-configuration", (_request, response) =>
    forging.json(response, { ...forging.document(), issuer: written }),
  );
  await identity.users.add("anna", {});
  await identity.users.link("anna", { issuer: provider.issuer, subject: "id-of-anna" });
  t.match(await signInWith(opened, { claims: { iss: written } }), { user: { login: "anna" }, isNew: false });
  await identity.users.link("anna", { issuer: written, subject: "id-of-anna" });
  t.match(await signInWith(opened, { claims: { iss: written } }), { user: { login: "anna" } });
  await identity.users.add("eve", {});
  await t.rejects(identity.users.link("eve", { issuer: provider.issuer, subject: "id-of-anna" }), { code: "LOGIN_TAKEN" });
});

t.test("what was begun at one provider is not finished at another, nor where another sends the browser back to", async (t) => {
  const opened = await openSignIn(t);
  const { signIn, forging } = opened;
  const { signIn: partners, forging: other } = await openSignIn(t, {}, systemClock(), opened);
  const begun = await signIn.begin(REDIRECT);
  forging.state({}, new URL(begun.url).searchParams.get("nonce") ?? "");
  const search = `?code=a-code&state=${begun.state}`;
  t.match(begun.sealed, /^default\./);
  const renamed = begun.sealed.replace("default.", "partners.");
  for (const sealed of [begun.sealed, renamed])
    await t.rejects(partners.finish({ sealed, path: PATH, search }, undefined), { code: "SIGN_IN_FAILED" });
  await t.rejects(signIn.finish({ sealed: begun.sealed, path: `${PATH}/partners`, search }, undefined), { code: "SIGN_IN_FAILED" });
  t.notOk(
    [...forging.requests, ...other.requests].some(({ path }) => path === "/token"),
    "the code was sent to no provider",
  );
  const { handle } = await signIn.beginDevice(PEER);
  await t.rejects(partners.finishDevice(handle.replace("default.", "partners."), PEER), { code: "SIGN_IN_FAILED" });
  t.match(await signIn.finish({ sealed: begun.sealed, path: PATH, search }, undefined), { user: { login: "anna" } });
});

/** The provider has a page for sign-outs. */
function withSignOut({ forging }: { forging: ForgingProvider }) {
  const document = { ...forging.document(), end_session_endpoint: `${forging.issuer}/end?of=berth` };
  forging.answers.set("/.well-known/openid-configuration", (_request, response) => forging.json(response, document));
}
const keptSession = async ({ store }: Pick<OidcSignInDeps, "store">, { token }: { token: string }) => {
  const kept = await store.providerSessions.find(tokenDigest(token));
  if (!kept) throw new Error("The provider's session is not kept.");
  return kept;
};

t.test("the browser signs out at the provider with the ID token, which lies sealed in the store", async (t) => {
  const opened = await openSignIn(t);
  withSignOut(opened);
  const session = await signInWith(opened, { claims: { sid: "session-1" } });
  const kept = await keptSession(opened, session);
  t.match(kept, { issuer: opened.forging.issuer, subject: "id-of-anna", sid: "session-1", idToken: { box: String } });
  t.notMatch(Buffer.from(kept.idToken?.box ?? "", "base64").toString("latin1"), "eyJ");
  await opened.identity.endSession(session.token);
  t.equal(await opened.store.providerSessions.find(kept.digest), undefined, "it goes with the session");
  const { url, state } = (await opened.signIn.beginSignOut(kept, REDIRECT)) ?? {};
  const query = new URL(url ?? "").searchParams;
  t.match(Object.fromEntries(query), { of: "berth", post_logout_redirect_uri: REDIRECT, state, client_id: FORGED_CLIENT });
  t.match(decodeJwt(query.get("id_token_hint") ?? ""), { sub: "id-of-anna", sid: "session-1" });
  const elsewhere = { ...kept, digest: "another" };
  t.notOk(
    new URL((await opened.signIn.beginSignOut(elsewhere, REDIRECT))?.url ?? "").searchParams.has("id_token_hint"),
    "it opens for its session alone",
  );
});

t.test("no ID token is kept without a sign-out at the provider, for a command line, or if it is too long for an address", async (t) => {
  const without = await openSignIn(t);
  const session = await keptSession(without, await signInWith(without));
  t.match(session, { idToken: undefined });
  t.equal(await without.signIn.beginSignOut(session, REDIRECT), undefined);
  const opened = await openSignIn(t);
  withSignOut(opened);
  t.match(await keptSession(opened, await signInWith(opened, { claims: { groups: "x".repeat(6_000) } })), { idToken: undefined });
  opened.forging.state({});
  const { handle } = await opened.signIn.beginDevice(PEER);
  const device = await opened.signIn.finishDevice(handle, PEER);
  if (!device) throw new Error("The device is not signed in.");
  t.match(await keptSession(opened, device), { subject: "id-of-anna", idToken: undefined });
  const strange = { ...opened.forging.document(), end_session_endpoint: "javascript:alert(1)" };
  const third = await openSignIn(t);
  third.forging.answers.set("/.well-known/openid-configuration", (_request, response) =>
    third.forging.json(response, { ...strange, ...third.forging.document() }),
  );
  t.equal(await third.signIn.beginSignOut(session, REDIRECT), undefined);
});

t.test("a provider that does not answer keeps no one waiting at a sign-out", async (t) => {
  const clock = createStillClock(Date.now());
  const opened = await openSignIn(t, {}, clock);
  opened.forging.answers.set("/.well-known/openid-configuration", () => {});
  const ended = { digest: "d", issuer: opened.forging.issuer, subject: "s", sid: undefined, idToken: undefined };
  const leaving = opened.signIn.beginSignOut(ended, REDIRECT);
  await eventually("a request", () => opened.forging.requests.length === 1);
  await clock.advance(3_000);
  t.equal(await leaving, undefined);
});

const EVENTS = { "http://schemas.openid.net/event/backchannel-logout": {} };
const now = () => Math.floor(Date.now() / 1_000);
/** A right report, but for the changes. */
const report = ({ forging }: { forging: ForgingProvider }, { claims = {}, ...changes }: TokenChanges = {}) =>
  forging.sign({ typ: "logout+jwt", ...changes, claims: { events: EVENTS, iat: now(), jti: randomUUID(), sid: "session-1", ...claims } });

t.test("a session ends when its provider reports the end of its own, and no other one does", async (t) => {
  const opened = await openSignIn(t);
  const { signIn, identity } = opened;
  const isOpen = async ({ token }: { token: string }) => (await identity.who(token, "console")) !== undefined;
  const at = (sid: string, more: object = {}) => signInWith(opened, { claims: { sid, ...more } });
  const [first, second, other] = [
    await at("session-1"),
    await at("session-2"),
    await at("session-1", { sub: "id-of-eve", preferred_username: "eve" }),
  ];
  const child = await identity.openSessionFrom(first.token);
  t.match(await signIn.endReported(await report(opened), PEER), [{ login: "anna" }]);
  t.same([await isOpen(first), await isOpen(second), await isOpen(other)], [false, true, true]);
  t.equal(await identity.who(child), undefined, "the session of a container's page ends with it");
  t.same(await signIn.endReported(await report(opened), PEER), [], "it has ended already");
  t.match(await signIn.endReported(await report(opened, { claims: { sid: undefined } }), PEER), [{ login: "anna" }]);
  t.same([await isOpen(second), await isOpen(other)], [false, true], "a report of a user ends all of the user's");
});

const NO_REPORTS: Record<string, TokenChanges> = {
  "the signature of another key": { by: "other key" },
  "no signature": { by: "none" },
  "a signature by the client's secret": { by: "client secret" },
  "another audience": { claims: { aud: "another-client" } },
  "another issuer": { claims: { iss: "https://elsewhere.example" } },
  "no event": { claims: { events: undefined } },
  "another event": { claims: { events: { "urn:other": {} } } },
  "an event that is no object": { claims: { events: { "http://schemas.openid.net/event/backchannel-logout": "yes" } } },
  "a nonce": { claims: { nonce: "of-a-sign-in" } },
  "no id": { claims: { jti: undefined } },
  "no time": { claims: { iat: undefined } },
  "a time 7 minutes ago": { claims: { iat: now() - 420 } },
  "an end 2 minutes ago": { expires: -120 },
  "neither a session nor a subject": { claims: { sid: undefined, sub: undefined } },
  "the type of an access token": { typ: "at+jwt" },
};
t.test("what does not prove the end of a session ends none", async (t) => {
  const opened = await openSignIn(t);
  const { signIn, identity } = opened;
  const { token } = await signInWith(opened, { claims: { sid: "session-1" } });
  const refused = async (sent: string, what: string, peer: string) => t.rejects(signIn.endReported(sent, peer), { code: "REQUEST_INVALID" }, what);
  for (const [nth, [what, changes]] of Object.entries(NO_REPORTS).entries())
    await refused(await report(opened, changes), what, `192.0.2.${nth + 10}`);
  for (const wrong of ["", "x", "a.b.c", "x".repeat(16_000)]) await refused(wrong, wrong.slice(0, 9), "192.0.2.9");
  t.ok(await identity.who(token, "console"));

  const right = await report(opened, { claims: { sid: undefined } });
  t.match(await signIn.endReported(right, PEER), [{ login: "anna" }]);
  const later = await signInWith(opened, { claims: { sid: "session-1" } });
  await refused(right, "a report that was sent before", PEER);
  t.ok(await identity.who(later.token, "console"), "it ends no session that began meanwhile");
  for (let count = 0; count < 10; count++) await signIn.endReported("x", "192.0.2.3").catch(() => undefined);
  await t.rejects(signIn.endReported(await report(opened), "192.0.2.3"), { code: "TOO_MANY_ATTEMPTS" });
});

t.test("a sign-in that is under way when the provider's session ends signs no one in", async (t) => {
  const opened = await openSignIn(t);
  const { signIn, forging, store } = opened;
  const held = Promise.withResolvers<ServerResponse>();
  forging.answers.set("/token", (_request, response) => held.resolve(response));
  const signingIn = signInWith(opened, { claims: { sid: "session-1" } }).catch((error: unknown) => error);
  const response = await held.promise;
  const id_token = await forging.idToken();
  t.same(await signIn.endReported(await report(opened), PEER), []);
  forging.json(response, { access_token: "an-access-token", token_type: "Bearer", id_token });
  t.match(await signingIn, { code: "SIGN_IN_FAILED" });
  t.equal((await store.users.all()).length, 1);
});

t.test("a report counts when it is sent again, if the store could not end the session at first", async (t) => {
  const opened = await openSignIn(t);
  const { identity, provider, store, vault } = opened;
  const { token } = await signInWith(opened, { claims: { sid: "session-1" } });
  let isAway = true;
  const sessions: typeof identity.sessions = {
    ...identity.sessions,
    endDigests: async (digests) => {
      if (isAway) throw new Fault("STORE_UNAVAILABLE", "the store is away");
      await identity.sessions.endDigests(digests);
    },
  };
  const log = openLog({ level: "silent", name: "test" });
  const signIn = createOidcSignIn({ provider, rules: RULES, store, vault, clock: systemClock(), log, identity: { ...identity, sessions } });
  const sent = await report(opened);
  await t.rejects(signIn.endReported(sent, PEER), { code: "STORE_UNAVAILABLE" });
  isAway = false;
  t.match(await signIn.endReported(sent, PEER), [{ login: "anna" }]);
  t.equal(await identity.who(token, "console"), undefined);
  await t.rejects(signIn.endReported(sent, PEER), { code: "REQUEST_INVALID" });
});

t.test("a rotation of the store's key seals ID tokens anew", async (t) => {
  const opened = await openSignIn(t);
  withSignOut(opened);
  const { digest } = await keptSession(opened, await signInWith(opened));
  const before = await opened.store.providerSessions.find(digest);
  await opened.vault.rotate();
  const after = await opened.store.providerSessions.find(digest);
  t.not(after?.idToken?.keyId, before?.idToken?.keyId);
  t.match((after && (await opened.signIn.beginSignOut(after, REDIRECT)))?.url, /id_token_hint=eyJ/);
});

t.test("the same subject and login at another provider is another user", async (t) => {
  const opened = await openSignIn(t);
  const other = await openSignIn(t, {}, systemClock(), opened);
  await signInWith(opened);
  await t.rejects(signInWith(other), { code: "SIGN_IN_REFUSED" });
  await t.rejects(
    signInWith({ ...other, signIn: other.open({ linkUsers: true }) }),
    { code: "SIGN_IN_REFUSED" },
    "the login is of a user of the first provider",
  );
  t.match(await signInWith(other, { claims: { preferred_username: "anna2", email: "anna@example.com", email_verified: true } }), {
    user: { login: "anna2" },
    isNew: true,
  });
});

t.test("sign-ins that fail are counted by address", async (t) => {
  const { signIn, forging } = await openSignIn(t);
  forging.answers.set("/token", (_request, response) => forging.json(response, { error: "invalid_grant" }, 400));
  const attempt = async () => {
    const { sealed, state } = await signIn.begin(REDIRECT);
    return signIn.finish({ sealed, path: PATH, search: `?code=guessed&state=${state}` }, PEER);
  };
  for (let count = 0; count < 10; count++) await t.rejects(attempt(), { code: "SIGN_IN_FAILED" });
  await t.rejects(attempt(), { code: "TOO_MANY_ATTEMPTS" });
  await t.rejects(signIn.beginDevice(PEER), { code: "TOO_MANY_ATTEMPTS" });
  t.match(await signIn.beginDevice("192.0.2.2"), { userCode: "ABCD-EFGH" });
});

t.test("a device polls the provider no faster than the provider wants", async (t) => {
  const clock = createStillClock(Date.now());
  const { signIn, forging, identity } = await openSignIn(t, {}, clock);
  let error: string | undefined = "authorization_pending";
  forging.answers.set("/token", (request, response) => {
    if (error !== undefined) return forging.json(response, { error }, 400);
    forging.answers.delete("/token");
    request.socket.destroy();
  });
  const { handle } = await signIn.beginDevice(PEER);
  const polled = () => forging.requests.filter(({ path }) => path === "/token").length;
  t.equal(await signIn.finishDevice(handle, PEER), undefined);
  t.equal(await signIn.finishDevice(handle, PEER), undefined);
  t.equal(polled(), 1);
  error = "slow_down";
  await clock.advance(1_000);
  t.equal(await signIn.finishDevice(handle, PEER), undefined);
  await clock.advance(1_000);
  t.equal(await signIn.finishDevice(handle, PEER), undefined);
  t.equal(polled(), 2);
  await clock.advance(6_000);
  forging.answers.delete("/token");
  forging.state({});
  const session = await signIn.finishDevice(handle, PEER);
  t.match(session, { user: { login: "anna" } });
  t.match(await identity.who(session?.token ?? ""), { login: "anna" }, "a session of the edge, as of other command lines");
  error = "access_denied";
  await clock.advance(600_000);
  await t.rejects(signIn.finishDevice(handle, PEER), { code: "SIGN_IN_FAILED" }, "it has expired");
});

t.test("other spellings of a handle are refused, and none polls the provider", async (t) => {
  const { signIn, forging } = await openSignIn(t);
  forging.answers.set("/token", (_request, response) => forging.json(response, { error: "authorization_pending" }, 400));
  const { handle } = await signIn.beginDevice(PEER);
  t.equal(await signIn.finishDevice(handle, PEER), undefined);
  const urlSafe = handle.replaceAll("+", "-").replaceAll("/", "_");
  for (const other of [`${handle}.1`, `${handle}.`, `${handle}=`, `${handle} `, handle.replace(/.{8}$/, " $&"), `${handle}AA==`, urlSafe])
    if (other !== handle) await t.rejects(signIn.finishDevice(other, PEER), { code: "SIGN_IN_FAILED" }, other.slice(-10));
  t.equal(forging.requests.filter(({ path }) => path === "/token").length, 1);
});

t.test("polls of devices keep no one else from signing in, however slow the provider is", async (t) => {
  const opened = await openSignIn(t);
  const { signIn, forging } = opened;
  const held: (() => void)[] = [];
  let code = 0;
  forging.answers.set("/device", (_request, response) =>
    forging.json(response, {
      device_code: `code-${code++}`,
      user_code: "A",
      verification_uri: `${forging.issuer}/enter`,
      expires_in: 600,
      interval: 1,
    }),
  );
  forging.answers.set("/token", (_request, response) => void held.push(() => forging.json(response, { error: "authorization_pending" }, 400)));
  const polls: Promise<unknown>[] = [];
  const poll = async (peer: string, devices: number) => {
    for (let count = 0; count < devices; count++) polls.push(signIn.finishDevice((await signIn.beginDevice(peer)).handle, peer));
  };
  await poll(PEER, 5);
  await eventually("the polls of one address", () => held.length === 2);
  for (let client = 0; client < 20; client++) await poll(`198.51.100.${client}`, 2);
  await eventually("the polls of all addresses", () => held.length === 8);
  forging.answers.delete("/token");
  t.match(await signInWith(opened), { user: { login: "anna" } });
  t.equal(forging.requests.filter(({ path }) => path === "/token").length, 9, "no more polls than that are under way");
  for (const answer of held) answer();
  t.same(new Set(await Promise.all(polls)), new Set([undefined]), "those without a place poll again");
});

t.test("a provider without the device flow, or with a strange address for it, refuses command lines alone", async (t) => {
  const opened = await openSignIn(t);
  const { signIn, forging } = opened;
  forging.answers.set("/device", (_request, response) =>
    forging.json(response, { device_code: "x", user_code: "x", verification_uri: "file:///etc/passwd", expires_in: 600 }),
  );
  await t.rejects(signIn.beginDevice(PEER), { code: "SIGN_IN_FAILED" });
  forging.answers.set("/device", (_request, response) => forging.json(response, { error: "unauthorized_client" }, 400));
  await t.rejects(signIn.beginDevice(PEER), { code: "SIGN_IN_FAILED" });

  const without = await openSignIn(t);
  without.forging.answers.set("/.well-known/openid-configuration", (_request, response) =>
    without.forging.json(response, { ...without.forging.document(), device_authorization_endpoint: undefined }),
  );
  await t.rejects(without.signIn.beginDevice(PEER), { code: "NOT_PROVIDED" });
  t.match(await signInWith(without), { user: { login: "anna" } });
});

t.test("a first sign-in takes over no user of the same login", async (t) => {
  const opened = await openSignIn(t);
  const { identity, open, forging, store } = opened;
  await identity.users.add("Anna", {});
  await t.rejects(signInWith(opened), { code: "SIGN_IN_REFUSED", message: /berth users link Anna "id-of-anna"/ });
  await identity.users.change("Anna", { admin: true });
  const linking = { forging, signIn: open({ linkUsers: true }) };
  await t.rejects(signInWith(linking), { code: "SIGN_IN_REFUSED" }, "an administrator is never linked by name");
  await t.rejects(signInWith(linking, { claims: { sub: "x", preferred_username: "admin" } }), { code: "SIGN_IN_REFUSED" });
  await identity.users.change("Anna", { admin: false });
  t.match(await signInWith(linking), { user: { login: "Anna" }, isNew: false, changes: [{ action: "userLinked", detail: "id-of-anna" }] });
  await t.rejects(signInWith(linking, { claims: { sub: "id-of-another-anna" } }), { code: "SIGN_IN_REFUSED" }, "the login is linked already");
  t.match(await signInWith(opened, { claims: { preferred_username: "renamed" } }), { user: { login: "Anna" } }, "the subject counts, not the name");
  await t.rejects(signInWith({ forging, signIn: open({ createUsers: false }) }, { claims: { sub: "new", preferred_username: "new" } }), {
    code: "SIGN_IN_REFUSED",
  });

  await identity.users.add("bert", {});
  await identity.users.link("bert", { issuer: forging.issuer, subject: "id-of-bert" });
  t.match(await signInWith(opened, { claims: { sub: "id-of-bert" } }), { user: { login: "bert" }, isNew: false });
  await t.rejects(identity.users.link("Anna", { issuer: forging.issuer, subject: "id-of-bert" }), { code: "LOGIN_TAKEN" });
  await t.rejects(identity.users.link("admin", { issuer: forging.issuer, subject: "x" }), { code: "REQUEST_INVALID" });
  t.equal((await store.users.all()).length, 3);
});

t.test("each sign-in sets what the settings leave to the provider, and refusal ends open sessions", async (t) => {
  const opened = await openSignIn(t, { allowedGroups: ["lab"], adminGroups: ["admins"], groups: ["lab", "chess"] });
  const { identity, store } = opened;
  const first = await signInWith(opened, { claims: { groups: ["/lab", "/admins", "other"] } });
  t.match(first.user, { login: "anna", admin: true });
  t.same(first.changes, [
    { action: "userAdded", detail: "id-of-anna" },
    { action: "userChanged", detail: "administrator: yes, group +lab" },
  ]);
  t.match(await identity.who(first.token, "console"), { admin: true });
  await identity.users.joinGroup("anna", "own");
  await identity.users.joinGroup("anna", "chess");
  t.same(await store.groups.ofUser(first.user.id), ["chess", "lab", "own"]);

  const second = await signInWith(opened, { claims: { groups: ["lab"] } });
  t.match(second.user, { admin: false });
  t.same(second.changes, [{ action: "userChanged", detail: "administrator: no, group -chess" }]);
  t.match(await identity.who(first.token, "console"), { admin: false }, "in open sessions too");
  t.same(await store.groups.ofUser(first.user.id), ["lab", "own"]);

  await t.rejects(signInWith(opened, { claims: { groups: ["other"] } }), { code: "SIGN_IN_REFUSED" });
  t.equal(await identity.who(first.token, "console"), undefined);
  t.equal(await identity.who(second.token, "console"), undefined);
});

t.test("a blocked user has no session, no key and no sign-in until an administrator unblocks the user", async (t) => {
  const opened = await openSignIn(t);
  const { identity, store } = opened;
  const { token } = await signInWith(opened);
  const { key } = await identity.users.addKey("anna", "");
  const byKey = await identity.signIn(key);
  const admin = await store.users.byLogin("admin");
  const by = { id: admin?.id ?? "" };
  t.match(await identity.users.block("anna", by), { user: { blockedOn: Number } });
  t.equal(await identity.who(token, "console"), undefined);
  t.equal(await identity.who(byKey), undefined);
  await t.rejects(identity.userOfDevKey(key), { code: "USER_BLOCKED" });
  await t.rejects(identity.signIn(key), { code: "USER_BLOCKED" });
  await t.rejects(signInWith(opened), { code: "USER_BLOCKED" });
  await identity.users.unblock("anna");
  t.equal(await identity.who(byKey), undefined, "sessions have ended");
  t.match(await identity.userOfDevKey(key), { login: "anna" });
  await t.rejects(identity.users.block("admin", by), { code: "REQUEST_INVALID" });
  const anna = await store.users.byLogin("anna");
  await t.rejects(identity.users.block("anna", { id: anna?.id ?? "" }), { code: "REQUEST_INVALID" });
});

t.test("the audit log has what a sign-in changed about its user", async (t) => {
  const { provider, forging } = await openSignIn(t);
  const log = openLog({ level: "silent", name: "test" });
  const { call, store } = await openApiFixture(t, {}, undefined, (own) => ({
    oidc: [createOidcSignIn({ ...own, provider, rules: { ...RULES, adminGroups: ["admins"] }, log })],
  }));
  const post = (path: string, body: object) =>
    call(`/users/login/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const { handle } = (await post("device", {})).json;
  forging.state({ claims: { groups: ["admins"] } });
  t.equal((await post("device/token", { handle })).json["login"], "anna");
  t.match(
    (await store.audit.list({ limit: 9 })).map(({ action, target, login, via }) => [action, target, login, via]),
    [
      ["signedIn", "anna", "anna", "oidc"],
      ["userChanged", "anna: administrator: yes", "anna", "oidc"],
      ["userAdded", "anna: id-of-anna", "anna", "oidc"],
    ],
  );
});

t.test("with another link, or none, the sessions of the subject before end", async (t) => {
  const opened = await openSignIn(t);
  const { identity, forging } = opened;
  const issuer = forging.issuer;
  const link = (subject: string | undefined) => identity.users.link("anna", subject === undefined ? undefined : { issuer, subject });
  const isOpen = async ({ token }: { token: string }) => (await identity.who(token, "console")) !== undefined;
  const first = await signInWith(opened);
  await link("id-of-anna");
  t.ok(await isOpen(first), "the same link changes nothing");
  await link("id-of-another-anna");
  t.notOk(await isOpen(first));
  const second = await signInWith(opened, { claims: { sub: "id-of-another-anna" } });
  const derived = await identity.openSession(second.user.id);
  await link(undefined);
  t.notOk(await isOpen(second));
  t.equal(await identity.who(derived), undefined);
  const unlinked = await identity.openSession(second.user.id);
  await link("id-of-anna");
  t.ok(await identity.who(unlinked), "a first link ends none");
});

t.test("a sign-in that is under way when its user is blocked opens no session, also none for the time after", async (t) => {
  const opened = await openSignIn(t);
  const { identity, store } = opened;
  const { user } = await signInWith(opened);
  const openSession = identity.openSession;
  const stored = Promise.withResolvers<void>();
  // Begun here, so that it is no part of the sign-in's transaction.
  const blocking = stored.promise.then(() => identity.users.block("anna", { id: "admin" }));
  identity.openSession = async (...session) => {
    stored.resolve();
    const turns = (async () => {
      for (let count = 0; count < 100; count++) await new Promise(setImmediate);
    })();
    await Promise.race([blocking, turns]);
    return openSession(...session);
  };
  await signInWith(opened);
  const { user: account } = await blocking;
  t.ok(account.blockedOn);
  t.equal(await store.sessions.count({ now: 0, userId: user.id }), 0, "no session is left");
});

t.test("claims become a user by the settings", async (t) => {
  const map = (claims: object, rules: Partial<OidcRules> = {}) =>
    mapClaims(
      { ...RULES, ...rules },
      { name: "Forge", settingOf: (field) => field },
      { issuer: "https://i", subject: "s", claims: { preferred_username: "anna", ...claims } },
    );
  t.match(map({ name: " Anna " }), { login: "anna", friendlyName: "Anna", groups: undefined, admin: undefined });
  t.match(map({ preferred_username: "anna@example.com" }), { login: "anna", friendlyName: "anna" });
  t.match(map({ hd: "example.com" }, { groupsClaim: "hd", allowedGroups: ["example.com"] }), { login: "anna" });
  t.match(map({ groups: ["b"] }, { adminGroups: ["a"] }), { admin: false });
  const refused = (claims: object, rules: Partial<OidcRules> = {}) => t.throws(() => map(claims, rules), { code: "SIGN_IN_REFUSED" });
  refused({ preferred_username: undefined });
  refused({ preferred_username: ["anna"] });
  refused({ preferred_username: "anna smith" });
  refused({ preferred_username: "../anna" });
  for (const email_verified of [false, "false"]) refused({ email: "anna@example.com", email_verified }, { loginClaim: "email" });
  refused({ groups: "laboratory" }, { allowedGroups: ["lab"] });
  refused({ groups: { lab: true } }, { allowedGroups: ["lab"] });
  refused({}, { allowedGroups: ["lab"] });
  refused({ groups: ["*"] }, { allowedGroups: ["lab"] });
});
