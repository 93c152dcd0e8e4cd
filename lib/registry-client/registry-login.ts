import { Fault } from "../fault.ts";

/** A name and password for a registry. */
export type RegistryLogin = { username: string; password: string };

export function basicAuthorization({ username, password }: RegistryLogin): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

/** Undefined for what is not Basic. */
export function parseBasic(authorization: string | undefined): RegistryLogin | undefined {
  const [, username, password] = /^([^:]*):(.*)$/s.exec(Buffer.from(/^Basic (.+)$/.exec(authorization ?? "")?.[1] ?? "", "base64").toString()) ?? [];
  return username === undefined || password === undefined ? undefined : { username, password };
}

/** Of the settings. Faults: SETTINGS_INVALID. */
export function parseLogin({ username, password }: { username: string | undefined; password: string | undefined }): RegistryLogin | undefined {
  if (username === undefined && password === undefined) return undefined;
  if (username === undefined || password === undefined || username.includes(":")) {
    throw new Fault("SETTINGS_INVALID", "REGISTRY_USERNAME and REGISTRY_PASSWORD belong together, and the name holds no colon.");
  }
  return { username, password };
}
