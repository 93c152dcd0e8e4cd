import { randomBytes } from "node:crypto";
import { decodeJwt, errors, type JWTPayload, jwtVerify } from "jose";
import type { Clock } from "../../lib/clock.ts";
import { Fault } from "../../lib/fault.ts";
import { JOB_TOKEN_PREFIX } from "../../lib/sign-in.ts";
import type { User } from "../model/entities.ts";
import { imageRepository, unscoped } from "../model/names.ts";
import type { JobToken, TrustedPublisher } from "../model/records.ts";
import { isPackageJsonName } from "../packages/publish/definitions.ts";
import type { Store } from "../store/open-store.ts";
import type { ScopeRights } from "./docker-tokens.ts";
import { createIssuerKeys, ISSUER_ALGORITHMS, requireIssuerUrl } from "./issuer-keys.ts";
import { imageOfRepository, mayUseImage, repositoryOwner } from "./rights.ts";
import { tokenDigest } from "./sessions.ts";

/**
 * CI jobs that publish without a stored key. A job shows the identity token that its CI system issued for it, and receives a short-lived token for the packages
 * and repositories of one trusted publisher. That token is valid for nothing else: it is no session and no developer key.
 */
export type PublisherAccounts = {
  /** By name. */
  all(): Promise<TrustedPublisher[]>;
  /** Faults: REQUEST_INVALID, USER_NOT_FOUND, NAME_TAKEN. */
  add(publisher: NewPublisher): Promise<TrustedPublisher>;
  /** Ends the tokens of its jobs. Faults: PUBLISHER_NOT_FOUND. */
  remove(name: string): Promise<void>;
  /**
   * A token for the job that an identity token is of. `name`: of the publisher, if several match. Faults: TOKEN_INVALID, ISSUER_UNUSABLE, TOO_MANY_ATTEMPTS,
   * REQUEST_INVALID.
   */
  exchange(identityToken: string, name?: string): Promise<{ token: string; grant: JobGrant }>;
  /** Undefined for a token that is not valid, or no longer. */
  grantOf(token: string): Promise<JobGrant | undefined>;
};

/** `repositories`: undefined for those of the packages. */
export type NewPublisher = Omit<TrustedPublisher, "userId" | "createdOn" | "repositories"> & { login: string; repositories?: string[] | undefined };

/** What the token of a job may do. `user`: in whose name, without administration. `job`: the claims that identify it. */
export type JobGrant = {
  user: User;
  publisher: TrustedPublisher;
  job: string;
  expiresOn: number;
};

const MOST_PUBLISHERS = 200;
/** Of one publisher, whose identity tokens are still valid: a job that exchanges in a loop does not fill the store. */
const MOST_TOKENS = 1_000;
const LONGEST_IDENTITY_TOKEN = 16_384;
const LEEWAY_SECONDS = 60;
/** However late its own end is: for so long berth remembers that it was exchanged. */
const MAX_AGE_SECONDS = 24 * 3_600;

/** `signedOut` is called after a publisher was removed, with the login of its user. */
export function createPublisherAccounts({
  store,
  clock,
  httpIssuers = false,
  signedOut,
}: {
  store: Store;
  clock: Clock;
  httpIssuers?: boolean;
  signedOut: (login?: string) => void;
}): PublisherAccounts {
  const issuerKeys = createIssuerKeys({ clock, httpIssuers });

  const verified = async (token: string, issuer: string): Promise<JWTPayload> => {
    const { payload } = await jwtVerify(token, issuerKeys.of(issuer), {
      algorithms: ISSUER_ALGORITHMS,
      issuer,
      requiredClaims: ["iss", "aud", "exp", "iat"],
      maxTokenAge: MAX_AGE_SECONDS,
      clockTolerance: LEEWAY_SECONDS,
      currentDate: new Date(clock.now()),
    }).catch((cause: unknown) => {
      throw cause instanceof errors.JOSEError ? new Fault("TOKEN_INVALID", sentenceOf(cause), { cause }) : cause;
    });
    return payload;
  };

  const chosen = (all: readonly TrustedPublisher[], payload: JWTPayload, name: string | undefined): TrustedPublisher => {
    const matching = all.filter((one) => isAudience(payload.aud, one.audience) && hasClaims(payload, one.claims));
    const named = name === undefined ? matching : matching.filter((one) => one.name === name);
    const [only] = named;
    if (only === undefined)
      throw new Fault(
        "TOKEN_INVALID",
        `No trusted publisher${name === undefined ? "" : ` ${JSON.stringify(name.slice(0, 100))}`} matches this job: issuer ${payload.iss}, audience ${String(payload.aud).slice(0, 200)}, ${jobOf(payload)}. Compare with \`berth publishers ls\`.`,
      );
    if (named.length > 1)
      throw new Fault(
        "REQUEST_INVALID",
        `Several trusted publishers match this job: ${named.map((one) => one.name).join(", ")}. Choose one with --publisher.`,
      );
    return only;
  };

  /** Undefined for one who is blocked. */
  const activeUser = async ({ userId }: TrustedPublisher): Promise<User | undefined> => {
    const user = await store.users.find(userId);
    return user?.blockedOn === undefined ? user : undefined;
  };

  return {
    all: () => store.trustedPublishers.all(),
    add: async ({ login, ...given }) => {
      const repositories = given.repositories ?? given.packages.flatMap(repositoriesOf);
      requireNarrow({ ...given, repositories }, httpIssuers);
      return store.transaction(async () => {
        const user = await store.users.byLogin(login);
        if (!user) throw new Fault("USER_NOT_FOUND", `There is no user ${login}.`);
        const all = await store.trustedPublishers.all();
        if (all.some(({ name }) => name === given.name))
          throw new Fault("NAME_TAKEN", `There is a trusted publisher ${given.name}: choose another name, or remove that one.`);
        if (all.length >= MOST_PUBLISHERS)
          throw new Fault("REQUEST_INVALID", `There are ${MOST_PUBLISHERS} trusted publishers, which is the most: remove one first.`);
        return store.trustedPublishers.insert({ ...given, repositories, userId: user.id, createdOn: clock.now() });
      });
    },
    remove: async (name) => {
      const publisher = await store.trustedPublishers.find(name);
      if (!publisher || !(await store.trustedPublishers.remove(name)))
        throw new Fault("PUBLISHER_NOT_FOUND", `There is no trusted publisher ${JSON.stringify(name.slice(0, 100))}.`);
      // Docker tokens of its jobs are its user's.
      signedOut((await store.users.find(publisher.userId))?.login);
    },
    exchange: async (identityToken, name) => {
      const issuer = issuerOf(identityToken);
      const all = await store.trustedPublishers.byIssuer(issuer);
      // Nothing is requested from an issuer that no administrator trusts.
      if (all.length === 0) throw new Fault("TOKEN_INVALID", `No trusted publisher has the issuer ${JSON.stringify(issuer.slice(0, 200))}.`);
      const payload = await verified(identityToken, issuer);
      // Before the transaction, since most that match none are of no use to it.
      chosen(all, payload, name);
      const now = clock.now();
      const token = JOB_TOKEN_PREFIX + randomBytes(32).toString("base64url");
      return store.transaction(async () => {
        // While the issuer's keys were loaded, one may have been removed, or added with other claims under the same name.
        const publisher = chosen(await store.trustedPublishers.byIssuer(issuer), payload, name);
        const user = await activeUser(publisher);
        if (!user) throw new Fault("TOKEN_INVALID", `The user of the trusted publisher ${publisher.name} is blocked.`);
        await store.jobTokens.removeOld(now);
        const source = sourceOf(issuer, payload);
        if (await store.jobTokens.bySource(source))
          throw new Fault("TOKEN_INVALID", "This identity token was exchanged before. Request another one, or use berth login --ci once in a job.");
        if ((await store.jobTokens.countOf(publisher.name)) >= MOST_TOKENS)
          throw new Fault("TOO_MANY_ATTEMPTS", `Jobs of ${publisher.name} have ${MOST_TOKENS} tokens. Wait until some of them expire.`, {
            retryAfterMs: 60_000,
          });
        const expiresOn = now + publisher.lifetimeMinutes * 60_000;
        const validUntil = (Math.min(payload.exp ?? 0, (payload.iat ?? 0) + MAX_AGE_SECONDS) + LEEWAY_SECONDS) * 1_000;
        const row: JobToken = {
          digest: tokenDigest(token),
          publisher: publisher.name,
          source,
          job: jobOf(payload),
          expiresOn,
          keptUntil: Math.max(validUntil, expiresOn),
        };
        await store.jobTokens.insert(row);
        return { token, grant: { user: { ...user, admin: false }, publisher, job: row.job, expiresOn } };
      });
    },
    grantOf: async (token) => {
      const held = await store.jobTokens.find(tokenDigest(token));
      if (!held || held.expiresOn <= clock.now()) return undefined;
      const publisher = await store.trustedPublishers.find(held.publisher);
      const user = publisher && (await activeUser(publisher));
      return publisher && user && { user: { ...user, admin: false }, publisher, job: held.job, expiresOn: held.expiresOn };
    },
  };
}

/** Whether a job may publish a package. Faults: NOT_PERMITTED. */
export function requirePublish({ publisher: { name, packages, rights } }: JobGrant, packageName: string): void {
  if (rights.includes("publish") && packages.includes(packageName)) return;
  throw new Fault(
    "NOT_PERMITTED",
    `The trusted publisher ${name} may not publish ${packageName}. It may ${rights.join(", ")}; its packages: ${packages.join(", ")}.`,
  );
}

/** The rights of a job at the registry: never more than its user has, and of repositories with an owner only those of its packages. */
export function jobRights(store: Pick<Store, "repositories" | "packages" | "groups" | "users">, { user, publisher }: JobGrant): ScopeRights {
  const { rights, repositories, packages } = publisher;
  const isListed = (repository: string) => repositories.some((pattern) => matches(pattern, repository));
  const isOwn = async (repository: string): Promise<boolean> => {
    const image = imageOfRepository(repository);
    if (image === undefined || !(await mayUseImage(store, user, image))) return false;
    const owner = await repositoryOwner(store, image);
    return owner?.packageName === undefined || packages.includes(owner.packageName);
  };
  return {
    admin: false,
    mayPull: async (repository) => rights.includes("pull") && isListed(repository),
    mayPush: async (repository) => rights.includes("push") && isListed(repository) && (await isOwn(repository)),
  };
}

/** The repositories that `berth publish` pushes a package's images to. */
function repositoriesOf(packageName: string): string[] {
  const own = imageRepository(unscoped(packageName).toLowerCase());
  return [own, `${own}-*`];
}

const MOST_STARS = 3;
const MOST_CLAIMS = 10;
const MOST_PACKAGES = 20;
const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const CLAIM_NAME = /^[\w.:/-]{1,100}$/;
const VALUE = /^[\x20-\x7e]{1,255}$/;
const REPOSITORY = /^datagrok\/[a-z0-9][a-z0-9._*-]{0,199}$/;
/** They are checked for each token anyway. */
const REGISTERED_CLAIMS = ["iss", "aud", "exp", "nbf", "iat", "jti"];
/** Claims in which the owner comes before a slash: a pattern must name the owner. */
const OWNED_CLAIMS = ["repository", "project_path", "sub", "workflow_ref", "job_workflow_ref"];
/** Every user of GitHub and GitLab has jobs there: without one of these claims, all of them would match. */
const PUBLIC_ISSUERS: Readonly<Record<string, readonly string[]>> = {
  "https://token.actions.githubusercontent.com": ["repository", "repository_id", "repository_owner_id", "sub"],
  "https://gitlab.com": ["project_path", "project_id", "namespace_id", "sub"],
};

/** Refuses what would trust jobs that no administrator meant. Faults: REQUEST_INVALID. */
function requireNarrow(publisher: Omit<TrustedPublisher, "userId" | "createdOn">, httpIssuers: boolean): void {
  const { name, issuer, audience, claims, packages, repositories, rights, lifetimeMinutes } = publisher;
  const refuse = (sentence: string): never => {
    throw new Fault("REQUEST_INVALID", sentence);
  };
  if (!NAME.test(name)) refuse(`${quoted(name)} is no name: use up to 63 lower-case letters, digits and dashes.`);
  requireIssuerUrl(issuer, httpIssuers);
  if (!VALUE.test(audience) || audience.includes("*")) refuse(`${quoted(audience)} is no audience: use the address of this server.`);
  const entries = Object.entries(claims);
  if (entries.length === 0 || entries.length > MOST_CLAIMS) refuse(`Name 1 to ${MOST_CLAIMS} claims, such as repository=acme/plugins.`);
  for (const [claim, value] of entries) {
    if (!CLAIM_NAME.test(claim) || REGISTERED_CLAIMS.includes(claim)) refuse(`${quoted(claim)} cannot be a condition.`);
    if (!VALUE.test(value)) refuse(`The value of ${claim} must have 1 to 255 printable characters.`);
    const before = value.slice(0, Math.max(value.indexOf("*"), 0));
    if (!value.includes("*")) continue;
    // A part of a number is no group of owners: 1* is about a tenth of all.
    if (/(?:^|_)id$/i.test(claim)) refuse(`${claim}=${value} is too broad: an id must be exact, without *.`);
    if (before === "" || value.split("*").length - 1 > MOST_STARS)
      refuse(`${claim}=${value} is too broad: begin with a character other than *, and use at most ${MOST_STARS} of them.`);
    if (OWNED_CLAIMS.includes(claim) && !before.includes("/")) refuse(`${claim}=${value} is too broad: name the owner, as in acme/*.`);
  }
  const required = PUBLIC_ISSUERS[issuer.replace(/\/$/, "")];
  if (required !== undefined && !required.some((claim) => Object.hasOwn(claims, claim)))
    refuse(`Jobs of all users have the issuer ${issuer}. Add a condition on ${required.join(", ")}.`);
  if (required === undefined && entries.every(([, value]) => value.includes("*"))) refuse("At least one claim must be exact, without *.");
  if (packages.length === 0 || packages.length > MOST_PACKAGES) refuse(`Name 1 to ${MOST_PACKAGES} packages.`);
  for (const one of packages) if (!isPackageJsonName(one)) refuse(`${quoted(one)} is no name of a package.`);
  if (repositories.length > 2 * MOST_PACKAGES) refuse(`Name at most ${2 * MOST_PACKAGES} repositories.`);
  for (const one of repositories)
    if (!REPOSITORY.test(one) || one.split("*").length - 1 > MOST_STARS)
      refuse(`${quoted(one)} is no repository such as datagrok/plugin or datagrok/plugin-*.`);
  if (rights.length === 0) refuse("Name at least one right: pull, push or publish.");
  if (lifetimeMinutes < 1 || lifetimeMinutes > 60) refuse("The lifetime must be 1 to 60 minutes.");
}

/** `*` matches any characters but `/`. Linear: each part is searched once from the left, where the least is left for later stars. */
export function matches(pattern: string, text: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  if (rest.length === 0) return pattern === text;
  const last = rest.pop() ?? "";
  if (!text.startsWith(first) || text.length < first.length + last.length || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let at = first.length;
  for (const part of rest) {
    const next = text.indexOf(part, at);
    if (next === -1 || next + part.length > end || text.slice(at, next).includes("/")) return false;
    at = next + part.length;
  }
  return !text.slice(at, end).includes("/");
}

function hasClaims(payload: JWTPayload, claims: Record<string, string>): boolean {
  return Object.entries(claims).every(([name, pattern]) => {
    const value = Object.hasOwn(payload, name) ? payload[name] : undefined;
    const isPlain = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
    return isPlain && matches(pattern, String(value));
  });
}

/** Exactly this one: a token for several services may have been shown to another of them. */
function isAudience(audience: JWTPayload["aud"], expected: string): boolean {
  return audience === expected || (Array.isArray(audience) && audience.length === 1 && audience[0] === expected);
}

/** Faults: TOKEN_INVALID. */
function issuerOf(token: string): string {
  if (token.length > LONGEST_IDENTITY_TOKEN) throw new Fault("TOKEN_INVALID", "The identity token is too long.");
  try {
    const { iss } = decodeJwt(token);
    if (typeof iss === "string") return iss;
  } catch (cause) {
    throw new Fault("TOKEN_INVALID", "The identity token is no JWT.", { cause });
  }
  throw new Fault("TOKEN_INVALID", "The identity token names no issuer.");
}

/** By its id, or its content: signatures of some algorithms can be written in two ways. */
function sourceOf(issuer: string, payload: JWTPayload): string {
  return tokenDigest(JSON.stringify([issuer, payload.jti === undefined ? payload : payload.jti]));
}

/** In the audit log, as far as the token has them. */
const JOB_CLAIMS = ["repository", "project_path", "ref", "run_id", "run_attempt", "pipeline_id", "job_id"];
const LONGEST_CLAIM = 80;

function jobOf(payload: JWTPayload): string {
  const names = JOB_CLAIMS.filter((name) => ["string", "number"].includes(typeof payload[name]));
  return (names.length === 0 ? ["sub"] : names)
    .map(
      (name) =>
        `${name}=${String(payload[name])
          .replaceAll(/[^\x21-\x7e]+/g, "?")
          .slice(0, LONGEST_CLAIM)}`,
    )
    .join(" ");
}

/** By jose's code; its own messages are for programmers. */
const SENTENCES: Record<string, string> = {
  ERR_JWT_EXPIRED: "The identity token has expired: request another one.",
  ERR_JWKS_NO_MATCHING_KEY: "The identity token is signed with a key that its issuer does not publish.",
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: "The signature of the identity token is not valid.",
  ERR_JOSE_ALG_NOT_ALLOWED: `The algorithm of the identity token is not allowed. Allowed: ${ISSUER_ALGORITHMS.join(", ")}.`,
};

function sentenceOf(error: errors.JOSEError): string {
  if (error instanceof errors.JWTClaimValidationFailed) return `The claim "${error.claim}" of the identity token is missing or not valid now.`;
  return SENTENCES[error.code] ?? "The identity token is not valid.";
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}
