import type { Clock } from "../../lib/clock.ts";
import { BoundedMap } from "../../lib/bounded-map.ts";
import { withTimeout } from "../../lib/deadline.ts";
import { Fault } from "../../lib/fault.ts";
import type { Log } from "../../lib/log.ts";
import type { SessionKind, User } from "../model/entities.ts";
import type { ProviderSession } from "../model/records.ts";
import { idTokenContext, unlessKeyMissing, type Vault } from "../packages/credentials/open-vault.ts";
import type { Store } from "../store/open-store.ts";
import { clientOf, createSignInAttempts } from "./attempts.ts";
import { DEFAULT_PROVIDER, type EndedProviderSession, type OidcCodeRequest, type OidcProvider, type OidcUserClaims } from "./oidc-provider.ts";
import { blocked, type ControlIdentity } from "./open-identity.ts";
import { ADMIN_LOGIN, findBySubject, LOGIN, MOST_GROUPS, spellingsOf } from "./open-users.ts";
import { tokenDigest } from "./sessions.ts";

/** Who may sign in, and as what. `*` in a list of groups: all. */
export type OidcRules = {
  loginClaim: string;
  groupsClaim: string;
  allowedGroups: readonly string[];
  /** Empty: berth's own administrators decide. */
  adminGroups: readonly string[];
  /** Groups of the provider that are groups in berth. Empty: berth's groups are not changed. */
  groups: readonly string[];
  createUsers: boolean;
  linkUsers: boolean;
  sessionMs: number;
};

/** What a sign-in changed about a user, for the audit log. */
export type OidcUserChange = { action: "userAdded" | "userLinked" | "userChanged"; detail: string };

/** `isNew`: the sign-in created the user. */
export type OidcSession = { token: string; user: User; isNew: boolean; changes: OidcUserChange[]; expiresOn: number };

export type OidcDeviceStart = {
  /** Sealed; only berth can read it. */
  handle: string;
  userCode: string;
  url: string;
  completeUrl: string | undefined;
  expiresMs: number;
  intervalMs: number;
};

/**
 * Sign-in at one OpenID Connect provider. What berth must remember of a begun sign-in is sealed and held by the client, so another control process can finish it.
 * `peer` is the client's address. Faults of all: SIGN_IN_PROVIDER_AWAY, TOO_MANY_ATTEMPTS.
 */
export type OidcSignIn = Pick<OidcProvider, "id" | "name" | "issuer"> & {
  /** Where the browser goes, and what finishes the sign-in when it is back at `redirectUri`. */
  begin(redirectUri: string): Promise<{ url: string; state: string; sealed: string }>;
  /** `path`: at which the browser is back. Faults: SIGN_IN_FAILED, SIGN_IN_REFUSED, USER_BLOCKED. */
  finish(request: { sealed: string; path: string; search: string }, peer: string | undefined): Promise<OidcSession>;
  /** Faults: NOT_PROVIDED, SIGN_IN_FAILED. */
  beginDevice(peer: string | undefined): Promise<OidcDeviceStart>;
  /** Undefined: the user has not finished yet. Faults: SIGN_IN_FAILED, SIGN_IN_REFUSED, USER_BLOCKED. */
  finishDevice(handle: string, peer: string | undefined): Promise<OidcSession | undefined>;
  /**
   * Ends the sessions of which the provider reports that its own have ended. Returns their users. Faults: REQUEST_INVALID for a token that proves nothing, or
   * was sent before.
   */
  endReported(logoutToken: string, peer: string | undefined): Promise<Pick<User, "id" | "login">[]>;
  /**
   * Where the browser signs out at the provider after a session of berth has ended, and the `state` with which it is sent back to `redirectUri`. Undefined:
   * the provider has no sign-out, or is away, which keeps no one signed in to berth.
   */
  beginSignOut(ended: ProviderSession, redirectUri: string): Promise<{ url: string; state: string } | undefined>;
};

export type OidcSignInDeps = {
  provider: OidcProvider;
  rules: OidcRules;
  store: Store;
  identity: Pick<ControlIdentity, "users" | "sessions" | "openSession">;
  vault: Pick<Vault, "seal" | "sealForClient" | "open">;
  clock: Clock;
  log: Log;
};

/** Users read a second factor from a phone, and accept terms. */
const CODE_MS = 15 * 60_000;
/** What was begun at one provider is not finished at another. */
const CODE_CONTEXT = "sign-in of a browser";
const DEVICE_CONTEXT = "sign-in of a device";
/** Each waits for the provider. */
const MOST_AT_ONCE = 32;
/** Polls of devices have places of their own: they need no credential, so they must not keep a sign-in of a browser waiting. */
const MOST_POLLS_AT_ONCE = 8;
const MOST_POLLS_OF_CLIENT = 2;
const BUSY_MS = 1_000;
const MOST_POLLED = 1_000;
const SLOWER_MS = 5_000;
const LONGEST_SUBJECT = 255;
const LONGEST_NAME = 200;
const MOST_CLAIMED_GROUPS = 5_000;
/** So long a user who signs out waits for a provider whose document is not known. */
const SIGN_OUT_MS = 3_000;
const MOST_REPORTS = 10_000;

type SealedCode = Omit<OidcCodeRequest, "url"> & { until: number };
type SealedDevice = { deviceCode: string; intervalMs: number; until: number };

export function createOidcSignIn({ provider, rules, store, identity, vault, clock, log }: OidcSignInDeps): OidcSignIn {
  const { id, name, issuer } = provider;
  /** Each unfinished sign-in costs a request to the provider. */
  const attempts = createSignInAttempts({ clock, refusal: `Too many sign-ins with ${name} failed from this address. Wait, then try again.` });
  /** When berth may ask the provider again about a device, by the digest of its device code; the oldest first. */
  const pauses = new Map<string, { from: number; intervalMs: number }>();
  /** The ids of reports of ended sessions, and until when each counts. */
  const reports = new BoundedMap<string, number>(MOST_REPORTS);
  /** The `sid` of each session that has ended at the provider, and until when it is refused. */
  const endedSids = new BoundedMap<string, number>(MOST_REPORTS);
  let running = 0;
  /** The clients of the polls that are under way. */
  const polling: string[] = [];

  const limited = async <T>(peer: string | undefined, work: () => Promise<T>): Promise<T> => {
    attempts.check(peer);
    if (running >= MOST_AT_ONCE) throw new Fault("TOO_MANY_ATTEMPTS", "Too many users sign in at this moment: try again.", { retryAfterMs: BUSY_MS });
    running++;
    try {
      return await counted(peer, work);
    } finally {
      running--;
    }
  };
  const counted = async <T>(peer: string | undefined, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Fault && error.code === "SIGN_IN_FAILED") attempts.failed(peer);
      throw error;
    }
  };
  const seal = async (context: string, value: object): Promise<string> => {
    // No write: clients without a session could keep the store's writer busy.
    const { keyId, box } = await vault.sealForClient([context, issuer], JSON.stringify(value));
    return `${id}.${keyId}.${box}`;
  };
  const unseal = <T extends { until: number }>(context: string, sealed: string): T => {
    const [, keyId = "", box = ""] = sealed.split(".", 3);
    // Decoding of base64 is lenient: only the spelling that berth wrote is accepted.
    const isCanonical = sealed === `${id}.${keyId}.${Buffer.from(box, "base64").toString("base64")}`;
    let value: T | undefined;
    try {
      if (isCanonical) value = JSON.parse(vault.open([context, issuer], { keyId, box }, "The sign-in")) as T;
    } catch {
      // Of another berth, or changed.
    }
    if (value === undefined || value.until <= clock.now())
      throw new Fault(
        "SIGN_IN_FAILED",
        `The sign-in with ${name} was not begun here, or took longer than ${CODE_MS / 60_000} minutes. Sign in again.`,
      );
    return value;
  };

  const openSession = async (claims: OidcUserClaims, kind: SessionKind, peer: string | undefined): Promise<OidcSession> => {
    const mapped = await mapOrEnd(claims);
    const expiresOn = clock.now() + rules.sessionMs;
    // In one transaction: a session that is opened while an administrator blocks or unlinks the user would be valid again after an unblock.
    const session = await store.transaction(async () => {
      if (claims.sid !== undefined && (endedSids.get(claims.sid) ?? 0) > clock.now())
        throw new Fault("SIGN_IN_FAILED", `The session at ${name} has ended meanwhile. Sign in again.`);
      const { user, change } = await findOrCreate(mapped);
      if (user.blockedOn !== undefined) throw blocked(user);
      const current = await applyRights(user, mapped);
      const token = await identity.openSession(user.id, rules.sessionMs, kind, peer);
      const digest = tokenDigest(token);
      // A command line has no browser for the provider's page.
      const idToken = kind === "console" ? claims.idToken : undefined;
      await store.providerSessions.insert({
        digest,
        issuer: claims.issuer,
        subject: claims.subject,
        sid: claims.sid,
        idToken: idToken === undefined ? undefined : await unlessKeyMissing(() => vault.seal(idTokenContext(digest), idToken)),
      });
      const changes = [change, current.change].filter((one) => one !== undefined);
      return { token, user: current.user, isNew: change?.action === "userAdded", changes, expiresOn };
    });
    log.info({ login: session.user.login, isNew: session.isNew }, "signed in at the provider");
    return session;
  };

  /** If the provider no longer allows a user, the open sessions end too. */
  const mapOrEnd = async (claims: OidcUserClaims): Promise<MappedUser> => {
    try {
      return mapClaims(rules, provider, claims);
    } catch (error) {
      const linked = await findBySubject(store, claims.issuer, claims.subject);
      if (linked) await identity.sessions.endAll(linked.id, undefined);
      throw error;
    }
  };

  const findOrCreate = async ({ issuer: stated, subject, login, friendlyName }: MappedUser): Promise<{ user: User; change?: OidcUserChange }> => {
    const linked = await findBySubject(store, stated, subject);
    if (linked) return { user: linked };
    const link = { oidcIssuer: stated, oidcSubject: subject };
    const taken = (await store.users.all()).find((user) => user.login.toLowerCase() === login.toLowerCase());
    if (taken !== undefined) {
      if (!rules.linkUsers || taken.oidcSubject !== undefined || taken.admin || taken.login === ADMIN_LOGIN)
        throw new Fault(
          "SIGN_IN_REFUSED",
          `${name} calls you ${login}, and berth has a user ${taken.login} who is not linked to you there. If that is you, an administrator runs: berth users link ${taken.login} ${JSON.stringify(subject)}${id === DEFAULT_PROVIDER ? "" : ` --provider ${id}`}.`,
        );
      return { user: (await store.users.update(taken.id, link)) ?? taken, change: { action: "userLinked", detail: subject } };
    }
    if (!rules.createUsers)
      throw new Fault(
        "SIGN_IN_REFUSED",
        `${name} calls you ${login}, and berth has no such user. An administrator adds you with berth users add, and links you.`,
      );
    const { user } = await identity.users.add(login, { friendlyName });
    return { user: (await store.users.update(user.id, link)) ?? user, change: { action: "userAdded", detail: subject } };
  };

  /** The provider decides at each sign-in what the settings leave to it. */
  const applyRights = async (user: User, mapped: MappedUser): Promise<{ user: User; change?: OidcUserChange }> => {
    const before = await store.groups.ofUser(user.id);
    const groups = mapped.groups === undefined ? before : desiredGroups(rules.groups, before, mapped.groups);
    const admin = user.login === ADMIN_LOGIN ? user.admin : (mapped.admin ?? user.admin);
    const added = groups.filter((group) => !before.includes(group)).map((group) => `group +${group}`);
    const removed = before.filter((group) => !groups.includes(group)).map((group) => `group -${group}`);
    const detail = [...(admin === user.admin ? [] : [`administrator: ${admin ? "yes" : "no"}`]), ...added, ...removed].join(", ");
    if (detail === "") return { user };
    return { user: (await identity.users.change(user.login, { admin, groups })).user, change: { action: "userChanged", detail } };
  };

  /** Ends the sessions that began at a session of the provider. Returns their users. */
  const endProviderSessions = async ({ sid, subject }: EndedProviderSession): Promise<User[]> => {
    const rows: ProviderSession[] = [];
    for (const spelling of spellingsOf(issuer))
      if (sid !== undefined) rows.push(...(await store.providerSessions.bySid(spelling, sid)));
      else if (subject !== undefined) rows.push(...(await store.providerSessions.bySubject(spelling, subject)));
    const named = rows.filter((row) => subject === undefined || row.subject === subject);
    const sessions = await Promise.all(named.map(({ digest }) => store.sessions.byDigest(digest)));
    const users = await Promise.all([...new Set(sessions.map((session) => session?.userId ?? ""))].map((userId) => store.users.find(userId)));
    await identity.sessions.endDigests(named.map(({ digest }) => digest));
    return users.filter((user) => user !== undefined);
  };

  return {
    id,
    name,
    issuer,
    begin: async (redirectUri) => {
      const { url, ...secrets } = await provider.beginCode(redirectUri);
      return { url, state: secrets.state, sealed: await seal(CODE_CONTEXT, { ...secrets, until: clock.now() + CODE_MS } satisfies SealedCode) };
    },
    finish: ({ sealed, path, search }, peer) =>
      limited(peer, async () => {
        const begun = unseal<SealedCode>(CODE_CONTEXT, sealed);
        // RFC 9700 §4.4: a provider that sends the browser on to another one must not receive that one's code. Each has its own redirect address.
        if (path !== new URL(begun.redirectUri).pathname)
          throw new Fault("SIGN_IN_FAILED", `The sign-in was begun with ${name}, and another provider sent the browser back. Sign in again.`);
        return openSession(await provider.finishCode(begun, search), "console", peer);
      }),
    beginDevice: (peer) =>
      limited(peer, async () => {
        // A begun one counts as failed until it succeeds: it is a request to the provider that needs no credential.
        attempts.failed(peer);
        const { deviceCode, expiresMs, intervalMs, ...shown } = await provider.beginDevice();
        const handle = await seal(DEVICE_CONTEXT, { deviceCode, intervalMs, until: clock.now() + expiresMs } satisfies SealedDevice);
        return { ...shown, handle, expiresMs, intervalMs };
      }),
    finishDevice: async (handle, peer) => {
      const { deviceCode, intervalMs: firstMs } = unseal<SealedDevice>(DEVICE_CONTEXT, handle);
      const digest = tokenDigest(deviceCode);
      const { from, intervalMs } = pauses.get(digest) ?? { from: 0, intervalMs: firstMs };
      const client = clientOf(peer ?? "");
      const ofClient = polling.filter((one) => one === client).length;
      if (from > clock.monotonic() || polling.length >= MOST_POLLS_AT_ONCE || ofClient >= MOST_POLLS_OF_CLIENT) return undefined;
      const pause = (ms: number) => {
        pauses.delete(digest);
        const [oldest] = pauses.size >= MOST_POLLED ? pauses.keys() : [];
        if (oldest !== undefined) pauses.delete(oldest);
        // The client counts its interval from the response.
        pauses.set(digest, { from: clock.monotonic() + ms * 0.8, intervalMs: ms });
      };
      pause(intervalMs);
      polling.push(client);
      try {
        return await counted(peer, async () => {
          const claims = await provider.finishDevice(deviceCode);
          // RFC 8628 §3.5.
          if (claims === "slow_down") pause(intervalMs + SLOWER_MS);
          return typeof claims === "string" ? undefined : openSession(claims, "administration", peer);
        });
      } finally {
        polling.splice(polling.indexOf(client), 1);
      }
    },
    endReported: async (token, peer) => {
      attempts.check(peer);
      const ended = await provider.verifyLogoutToken(token).catch((error: unknown) => {
        if (error instanceof Fault && error.code === "REQUEST_INVALID") attempts.failed(peer);
        throw error;
      });
      // A report that is sent again would end sessions that began meanwhile.
      if ((reports.get(ended.id) ?? 0) > clock.now()) throw new Fault("REQUEST_INVALID", "The logout token was sent before.");
      reports.set(ended.id, ended.until);
      try {
        // A sign-in that is under way sees that its session has ended, or its session is among those that end.
        if (ended.sid !== undefined) endedSids.set(ended.sid, ended.until);
        return await store.transaction(() => endProviderSessions(ended));
      } catch (error) {
        // Nothing was ended: the provider sends it again.
        reports.delete(ended.id);
        throw error;
      }
    },
    beginSignOut: async ({ digest, idToken }, redirectUri) => {
      const opened = idToken && (await unlessKeyMissing(async () => vault.open(idTokenContext(digest), idToken, "The ID token")));
      const overdue = () => new Fault("SIGN_IN_PROVIDER_AWAY", "it sent no document in time");
      try {
        return await withTimeout({ clock, ms: SIGN_OUT_MS, overdue }, () => provider.signOutUrl(opened, redirectUri));
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        log.warn({ issuer, reason: error.message }, "signed out of berth, and not at the provider");
        return undefined;
      }
    },
  };
}

/** `groups`, `admin` are undefined where berth decides. */
export type MappedUser = {
  issuer: string;
  subject: string;
  login: string;
  friendlyName: string;
  groups: string[] | undefined;
  admin: boolean | undefined;
};

/** What berth makes of the claims. Faults: SIGN_IN_REFUSED. */
export function mapClaims(
  rules: OidcRules,
  { name, settingOf }: Pick<OidcProvider, "name" | "settingOf">,
  { issuer, subject, claims }: OidcUserClaims,
): MappedUser {
  const refused = (why: string) => new Fault("SIGN_IN_REFUSED", `The sign-in with ${name} is refused: ${why}.`);
  const { loginClaim, groupsClaim, allowedGroups, adminGroups } = rules;
  const groups = groupsOf(claims[groupsClaim]);
  const isMember = (of: readonly string[]) => of.some((group) => group === "*" || groups.includes(plainGroup(group)));
  if (!isMember(allowedGroups)) {
    if (claims[groupsClaim] === undefined)
      throw refused(`the provider sent no claim ${groupsClaim}, which says who may sign in. An administrator adds it at the provider`);
    throw refused(`you are in none of the groups that may sign in to this server (${allowedGroups.join(", ")})`);
  }
  if (subject.length > LONGEST_SUBJECT) throw refused(`your subject is longer than ${LONGEST_SUBJECT} characters`);
  const claimed = claims[loginClaim];
  if (typeof claimed !== "string") throw refused(`the provider sent no claim ${loginClaim}. An administrator sets ${settingOf("loginClaim")}`);
  // Some providers send it as a text.
  if (loginClaim === "email" && String(claims["email_verified"]) === "false") throw refused("the provider has not verified your e-mail address");
  const [login = ""] = claimed.split("@", 1);
  if (!new RegExp(LOGIN).test(login))
    throw refused(
      `${JSON.stringify(claimed.slice(0, 100))} cannot be a login: letters, digits, ., _ and -, at most 63. An administrator sets ${settingOf("loginClaim")} to another claim`,
    );
  const fullName = claims["name"];
  return {
    issuer,
    subject,
    login,
    friendlyName: typeof fullName === "string" && fullName.trim() !== "" ? fullName.trim().slice(0, LONGEST_NAME) : login,
    groups: rules.groups.length === 0 ? undefined : groups,
    admin: adminGroups.length === 0 ? undefined : isMember(adminGroups),
  };
}

/** Of `before`, those that the provider does not decide, and those that it says. */
function desiredGroups(decided: readonly string[], before: readonly string[], claimed: readonly string[]): string[] {
  const isDecided = (group: string) => decided.includes("*") || decided.includes(group);
  const valid = new RegExp(LOGIN);
  return [...new Set([...before.filter((group) => !isDecided(group)), ...claimed.filter((group) => isDecided(group) && valid.test(group))])].slice(
    0,
    MOST_GROUPS,
  );
}

function groupsOf(claim: unknown): string[] {
  return [claim]
    .flat()
    .slice(0, MOST_CLAIMED_GROUPS)
    .flatMap((group) => (typeof group === "string" ? [plainGroup(group)] : []));
}

/** Keycloak writes the path of a group: `/team`. */
function plainGroup(group: string): string {
  return group.replace(/^\//, "");
}
