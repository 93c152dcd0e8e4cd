import type { Clock } from "../lib/clock.ts";
import type { Settings } from "../conf/settings.ts";
import type { SigningKeys } from "../control/identity/signing-keys.ts";
import { spawnerToken } from "../control/identity/spawner-token.ts";

/** What control shows a spawner instead of a key. Undefined where it does not know its own address, which a spawner compares with the one that it was told. */
export function spawnerTokens(parts: {
  settings: Settings;
  signingKeys: Pick<SigningKeys, "signer">;
  clock: Clock;
}): (() => Promise<string>) | undefined {
  const { settings, signingKeys, clock } = parts;
  const issuer = settings.datagrok.issuer ?? settings.webRoot ?? settings.apiUrl?.replace(/\/api\/?$/, "");
  const audience = settings.dockerSettings.spawnerAudience;
  return issuer === undefined ? undefined : () => spawnerToken({ signingKeys, clock }, { issuer, audience });
}
