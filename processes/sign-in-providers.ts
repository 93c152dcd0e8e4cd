import type { Settings } from "../conf/settings.ts";
import { DEFAULT_PROVIDER, type ProviderSettingName } from "../control/identity/oidc-provider.ts";
import { Fault } from "../lib/fault.ts";
import { isLoopback } from "./listeners.ts";

/** A sign-in provider of the settings. `settingOf` names the setting of a field, for messages. */
export type ConfiguredProvider = Omit<Settings["oidc"], "providers"> & { id: string; settingOf: ProviderSettingName };

/** The providers of the settings, in the order of the console's buttons; one without an issuer is none. */
export function configuredProviders({ providers, ...first }: Settings["oidc"]): ConfiguredProvider[] {
  const variable: ProviderSettingName = (field) => `BERTH_OIDC_${field.replace(/[A-Z]/g, "_$&").toUpperCase()}`;
  const main = first.issuer === undefined ? [] : [{ ...first, id: DEFAULT_PROVIDER, settingOf: variable }];
  const further = providers.map(({ id = "", ...one }) => ({
    ...one,
    id,
    settingOf: (field: string) => `${field} of ${id} in BERTH_OIDC_PROVIDERS`,
  }));
  return [...main, ...further];
}

/** What is wrong with the settings of sign-in providers. */
export function oidcSettingsFault({ oidc, datagrok }: Pick<Settings, "oidc" | "datagrok">): Fault | undefined {
  const wrong = (sentence: string) => new Fault("SETTINGS_INVALID", sentence);
  if (oidc.issuer === undefined && (oidc.clientId !== undefined || oidc.clientSecret !== undefined))
    return wrong("BERTH_OIDC_CLIENT_ID and BERTH_OIDC_CLIENT_SECRET have no effect without BERTH_OIDC_ISSUER: set that too.");
  const configured = configuredProviders(oidc);
  const setting = oidc.issuer === undefined ? "BERTH_OIDC_PROVIDERS" : "BERTH_OIDC_ISSUER";
  if (configured.length > 0 && datagrok.directory === "datagrok")
    return wrong(`${setting} is set and BERTH_DIRECTORY is datagrok: users sign in at the Datagrok server there. Unset ${setting}.`);
  for (const [nth, one] of configured.entries()) {
    const sentence = providerMistake(one) ?? twinMistake(one, configured.slice(0, nth));
    if (sentence !== undefined) return wrong(sentence);
  }
  return undefined;
}

function providerMistake({ issuer = "", clientId, allowedGroups, settingOf }: ConfiguredProvider): string | undefined {
  const { protocol, hostname, search, hash } = new URL(issuer);
  const named = settingOf("issuer");
  if (protocol === "http:" && !isLoopback(hostname.replace(/^\[|\]$/g, "")))
    return `${named} is ${issuer}, over which tokens would travel unencrypted: use https. http is for this machine only.`;
  if (search !== "" || hash !== "") return `${named} is ${issuer}: an issuer has no query and no fragment.`;
  if (clientId === undefined) return `${named} is set and ${settingOf("clientId")} is not: set the client id that the provider gave berth.`;
  if (allowedGroups.length === 0)
    return `${named} is set and ${settingOf("allowedGroups")} is not: name the groups whose members may sign in, or * for every user of the issuer.`;
  return undefined;
}

/** Issuers identify users, names identify buttons, and ids identify redirect addresses. */
function twinMistake(one: ConfiguredProvider, before: readonly ConfiguredProvider[]): string | undefined {
  const same = (of: (provider: ConfiguredProvider) => string) => before.find((other) => of(other) === of(one));
  if (same(({ id }) => id)) return `BERTH_OIDC_PROVIDERS has two providers with the id ${one.id}: give each its own.`;
  const issuer = same((provider) => new URL(provider.issuer ?? "").href);
  if (issuer)
    return `${one.settingOf("issuer")} is ${one.issuer}, which is ${issuer.settingOf("issuer")} too: list each issuer once, with all groups that may sign in.`;
  const name = same((provider) => providerName(provider).toLowerCase());
  if (name) return `${one.settingOf("name")} is ${providerName(one)}, and users could not tell its button from another one: set another name.`;
  return undefined;
}

/** What users know the provider by. */
export function providerName({ name, issuer = "" }: Pick<ConfiguredProvider, "name" | "issuer">): string {
  return name ?? new URL(issuer).host;
}
