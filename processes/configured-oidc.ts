import type { Settings } from "../conf/settings.ts";
import { openOidcProvider, type OidcProvider } from "../control/identity/oidc-provider.ts";
import { createOidcSignIn, type OidcSignIn, type OidcSignInDeps } from "../control/identity/oidc-sign-in.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import { oidcSettingsFault } from "./listeners.ts";

const HOUR_MS = 3_600_000;

/** The sign-in at a provider; undefined: the settings name none. Faults: SETTINGS_INVALID. */
export function openConfiguredOidc(
  settings: Settings,
  deps: Omit<OidcSignInDeps, "provider" | "rules"> & { sessionMs: number; clock: Clock; log: Log },
): (OidcSignIn & Pick<OidcProvider, "close">) | undefined {
  const fault = oidcSettingsFault(settings);
  if (fault) throw fault;
  const { issuer, name, clientId, clientSecret, scopes, sessionHours, ...rules } = settings.oidc;
  if (issuer === undefined || clientId === undefined) return undefined;
  const usesGroups = !rules.allowedGroups.includes("*") || rules.adminGroups.length > 0 || rules.groups.length > 0;
  const provider = openOidcProvider(
    {
      issuer,
      name: name ?? new URL(issuer).host,
      clientId,
      clientSecret,
      scopes: [...new Set(["openid", ...scopes])],
      claims: [rules.loginClaim, ...(usesGroups ? [rules.groupsClaim] : [])],
    },
    deps,
  );
  const signIn = createOidcSignIn({ ...deps, provider, rules: { ...rules, sessionMs: Math.min(sessionHours * HOUR_MS, deps.sessionMs) } });
  return { ...signIn, close: provider.close };
}
