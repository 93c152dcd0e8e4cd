import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import { openRegistryHttp, type Upstream } from "./upstream.ts";
import { parseLogin } from "../../../lib/registry-client/registry-login.ts";
import { challengeUpstream } from "./challenge-upstream.ts";
import { openEcrApi } from "./ecr-api.ts";
import { ecrUpstream } from "./ecr.ts";
import { readRegistryAddress, type RegistryAddress } from "./registry-address.ts";
import type { RefreshCounts } from "../../../lib/refreshing-token.ts";
import { openTokenFile } from "./token-file.ts";

export type UpstreamSettings = {
  /** `REGISTRY_URL`; may be missing where it is ECR. */
  url: string | undefined;
  username: string | undefined;
  password: string | undefined;
  ecrMode: boolean;
  awsRegion: string | undefined;
  /** Where its tokens are kept for other programs; nowhere where left out. */
  tokenFile?: string | undefined;
};

/**
 * The registry that the settings name. Only ECR without REGISTRY_URL is asked anything before this returns, since AWS has to say where it is.
 * Faults: SETTINGS_INVALID, UPSTREAM_CREDENTIAL_FAILED.
 */
export async function openUpstream(
  settings: UpstreamSettings,
  tools: { clock: Clock; log: Log; signal: AbortSignal; counts?: RefreshCounts },
): Promise<Upstream> {
  const { clock, log, signal, counts } = tools;
  const address = settings.url === undefined ? undefined : readRegistryAddress(settings.url);
  const login = parseLogin(settings);
  const file = settings.tokenFile === undefined ? undefined : openTokenFile(settings.tokenFile, { clock, log });
  if (settings.ecrMode) {
    const api = await openEcrApi({ region: regionOf(address) ?? settings.awsRegion, clock });
    return ecrUpstream({ address, api, file, counts, clock, log, signal });
  }
  if (!address)
    throw new Fault("SETTINGS_INVALID", "REGISTRY_URL is not set: it says which registry stands behind the proxy. Only ECR_MODE does without.");
  return challengeUpstream(address, { login, http: openRegistryHttp({ clock }), file, counts, clock });
}

/** Tokens are good in their own region, which the host of ECR names. */
function regionOf(address: RegistryAddress | undefined): string | undefined {
  return /^\d+\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\./.exec(address?.hostname ?? "")?.[1];
}
