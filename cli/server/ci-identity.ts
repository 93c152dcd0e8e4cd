import { rootCertificates } from "node:tls";
import type { Settings } from "../../conf/settings.ts";
import type { Clock } from "../../lib/clock.ts";
import { Fault, type FaultCode, FAULTS } from "../../lib/fault.ts";
import { type HttpReply, openHttpClient } from "../../lib/http-client.ts";
import { parseJson } from "../../lib/parse-json.ts";

/** The CI job in which this command runs. */
export type CiJob = {
  /** Its identity token for a service. `isNew`: each call requests another one. Faults: ISSUER_UNUSABLE. */
  identityToken(audience: string): Promise<string>;
  isNew: boolean;
};

/** What a server gave for an identity token. `expiresAt`: of the clock's `now`. */
export type ExchangedToken = { token: string; expiresAt: number; publisher: string; login: string; packages: string[] };

const TIMEOUT_MS = 30_000;
const MAX_BYTES = 65_536;
/** A token that ends so soon is replaced, if the CI system issues another identity token. */
const RENEW_MS = 60_000;

/** Undefined outside of CI, or if the job has no identity token. `BERTH_ID_TOKEN` comes before that of GitHub. */
export function findCiJob(env: NodeJS.ProcessEnv, client: Settings["client"], clock: Clock): CiJob | undefined {
  const given = client.idToken;
  if (given !== undefined) return { identityToken: async () => given, isNew: false };
  const { ACTIONS_ID_TOKEN_REQUEST_URL: address, ACTIONS_ID_TOKEN_REQUEST_TOKEN: bearer } = env;
  if (!address || !bearer || !URL.canParse(address)) return undefined;
  return {
    isNew: true,
    // https://docs.github.com/en/actions/reference/security/oidc
    identityToken: async (audience) => {
      const url = new URL(address);
      url.searchParams.set("audience", audience);
      const unusable = (why: string, cause?: unknown) =>
        new Fault("ISSUER_UNUSABLE", `GitHub issued no identity token for this job: ${why}.`, { cause });
      const http = openHttpClient({ clock, maxBytes: MAX_BYTES, timeoutMs: TIMEOUT_MS, toFault: ({ why, cause }) => unusable(why, cause) });
      const reply = await http.request({ url, headers: { authorization: `Bearer ${bearer}`, accept: "application/json" } });
      const { value } = jsonOf(reply);
      if (reply.status === 200 && typeof value === "string") return value;
      throw unusable(`${url.host} answered ${reply.status}`);
    },
  };
}

/** Why a job has no identity token. */
export function missingIdentity(env: NodeJS.ProcessEnv): string {
  if (env["GITHUB_ACTIONS"] === "true") return "This job of GitHub Actions has no identity token: give it the permission `id-token: write`.";
  if (env["GITLAB_CI"] === "true") return "This job of GitLab has no identity token: define BERTH_ID_TOKEN under `id_tokens`.";
  return "There is no identity token of a CI job here: set BERTH_ID_TOKEN.";
}

/** `url` is the API of the server, and `ca` a certificate in PEM form. */
export type CiServer = { url: string; ca: string | undefined };

/** Signs a job in (RFC 8693). `publisher`: the trusted publisher, if several match the job. Faults: those of the server. */
export async function exchangeIdentity(
  job: CiJob,
  { url, ca }: CiServer,
  clock: Clock,
  options: { audience?: string | undefined; publisher?: string | undefined } = {},
): Promise<ExchangedToken> {
  const identityToken = await job.identityToken(options.audience ?? new URL(url).origin);
  const http = openHttpClient({
    clock,
    maxBytes: MAX_BYTES,
    timeoutMs: TIMEOUT_MS,
    ...(ca === undefined ? {} : { options: { ca: [...rootCertificates, ca] } }),
    toFault: ({ why, cause }) => new Fault("CONTROL_AWAY", `${url} cannot be reached (${why}). Check the address.`, { cause }),
  });
  const body = new URLSearchParams({
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token: identityToken,
    subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
    ...(options.publisher === undefined ? {} : { publisher: options.publisher }),
  });
  const reply = await http.request({
    method: "POST",
    url: `${url}/users/login/ci`,
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: body.toString(),
  });
  const { access_token: token, expires_in: seconds, publisher, login, packages, code, message } = jsonOf(reply);
  if (reply.status === 200 && typeof token === "string" && typeof seconds === "number")
    return {
      token,
      expiresAt: clock.now() + seconds * 1_000,
      publisher: String(publisher),
      login: String(login),
      packages: Array.isArray(packages) ? packages.map(String) : [],
    };
  const faultCode: FaultCode = typeof code === "string" && Object.hasOwn(FAULTS, code) ? (code as FaultCode) : "NOT_PERMITTED";
  throw new Fault(faultCode, typeof message === "string" ? message : `${url} answered ${reply.status}: it takes no identity tokens of CI jobs.`);
}

/** The key of a job for one server: it signs in at the first use, and again before the end where the CI system issues new identity tokens. */
export function createJobKey(job: CiJob, server: CiServer, clock: Clock): () => Promise<string> {
  let current: Promise<ExchangedToken> | undefined;
  return async () => {
    current ??= exchangeIdentity(job, server, clock);
    const { token, expiresAt } = await current;
    if (!job.isNew || expiresAt - clock.now() > RENEW_MS) return token;
    current = exchangeIdentity(job, server, clock);
    return (await current).token;
  };
}

function jsonOf(reply: HttpReply): Record<string, unknown> {
  return (parseJson(reply.text()) ?? {}) as Record<string, unknown>;
}
