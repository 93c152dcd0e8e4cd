import type { Settings } from "../conf/settings.ts";
import { openOidcProvider, type OidcProvider } from "../control/identity/oidc-provider.ts";
import { createOidcSignIn, type OidcSignIn, type OidcSignInDeps } from "../control/identity/oidc-sign-in.ts";
import type { Clock } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import { type ConfiguredProvider, configuredProviders, oidcSettingsFault, providerName } from "./sign-in-providers.ts";

const HOUR_MS = 3_600_000;

export function openConfiguredProvider(configured: ConfiguredProvider, deps: { clock: Clock; log: Log }): OidcProvider {
  const { id, issuer = "", clientId = "", clientSecret, settingOf, scopes, signOut, ...rules } = configured;
  const usesGroups = !rules.allowedGroups.includes("*") || rules.adminGroups.length > 0 || rules.groups.length > 0;
  return openOidcProvider(
    {
      id,
      issuer,
      name: providerName(configured),
      clientId,
      clientSecret,
      settingOf,
      signsOut: signOut,
      scopes: [...new Set(["openid", ...scopes])],
      claims: [rules.loginClaim, ...(usesGroups ? [rules.groupsClaim] : [])],
    },
    deps,
  );
}

/** The sign-in at each provider of the settings. Faults: SETTINGS_INVALID. */
export function openConfiguredOidc(
  settings: Settings,
  deps: Omit<OidcSignInDeps, "provider" | "rules"> & { sessionMs: number; clock: Clock; log: Log },
): { signIns: OidcSignIn[]; close(): void } {
  const fault = oidcSettingsFault(settings);
  if (fault) throw fault;
  const opened = configuredProviders(settings.oidc).map((configured) => {
    const provider = openConfiguredProvider(configured, deps);
    const { loginClaim, groupsClaim, allowedGroups, adminGroups, groups, createUsers, linkUsers, sessionHours } = configured;
    const rules = { loginClaim, groupsClaim, allowedGroups, adminGroups, groups, createUsers, linkUsers };
    const signIn = createOidcSignIn({ ...deps, provider, rules: { ...rules, sessionMs: Math.min(sessionHours * HOUR_MS, deps.sessionMs) } });
    return { signIn, provider };
  });
  return {
    signIns: opened.map(({ signIn }) => signIn),
    close: () => {
      for (const { provider } of opened) provider.close();
    },
  };
}
