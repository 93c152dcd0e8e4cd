import type { Clock } from "../../../lib/clock.ts";
import { Fault } from "../../../lib/fault.ts";
import type { Log } from "../../../lib/log.ts";
import { openRegistryHttp, type Upstream } from "./upstream.ts";
import { parseLogin } from "../../../lib/registry-client/registry-login.ts";
import { challengeUpstream } from "./challenge-upstream.ts";
import { openEcrApi } from "./ecr-api.ts";
import { ecrUpstream } from "./ecr.ts";
import { parseRegistryAddress, type RegistryAddress } from "./registry-address.ts";
import type { RefreshCounts } from "../../../lib/refreshing-value.ts";
import { openTokenFile } from "./token-file.ts";

export type UpstreamSettings = {
  /** `REGISTRY_URL`; optional for ECR. */
  url: string | undefined;
  username: string | undefined;
  password: string | undefined;
  ecrMode: boolean;
  awsRegion: string | undefined;
  /** The file with its tokens for other programs; undefined: none. */
  tokenFile?: string | undefined;
};

/**
 * The registry that the settings name. Only ECR without REGISTRY_URL gets a request before this returns: AWS has to name its host.
 * Faults: SETTINGS_INVALID, UPSTREAM_CREDENTIAL_FAILED.
 */
export async function openUpstream(
  settings: UpstreamSettings,
  tools: { clock: Clock; log: Log; signal: AbortSignal; counts?: RefreshCounts },
): Promise<Upstream> {
  const { clock, log, signal, counts } = tools;
  const address = settings.url === undefined ? undefined : parseRegistryAddress(settings.url);
  const login = parseLogin(settings);
  const file = settings.tokenFile === undefined ? undefined : openTokenFile(settings.tokenFile, { clock, log });
  if (settings.ecrMode) {
    const api = await openEcrApi({ region: regionOf(address) ?? settings.awsRegion, clock });
    return ecrUpstream({ address, api, file, counts, clock, log, signal });
  }
  if (!address)
    throw new Fault("SETTINGS_INVALID", "REGISTRY_URL is not set: it names the registry behind the proxy. Only ECR_MODE works without it.");
  return challengeUpstream(address, { login, http: openRegistryHttp({ clock }), file, counts, clock });
}

/** Tokens are valid in their own region, which the host of ECR names. */
function regionOf(address: RegistryAddress | undefined): string | undefined {
  return /^\d+\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\./.exec(address?.hostname ?? "")?.[1];
}
