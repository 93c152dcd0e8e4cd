import { readFileSync } from "node:fs";
import { X509Certificate } from "node:crypto";
import { Fault } from "../lib/fault.ts";

/** How the demo reaches its own edge over TLS: this certificate and no other, with any issuer and any name. */
export type DemoTrust = { certificate: string; isForHost: boolean };

/** The edge's certificate, from the file that the setting names. `host` is the address that the demo calls. Faults: SETTINGS_INVALID. */
export function demoTrust(file: string, host: string): DemoTrust {
  try {
    const certificate = readFileSync(file, "utf8");
    const parsed = new X509Certificate(certificate);
    return { certificate, isForHost: (parsed.checkIP(host) ?? parsed.checkHost(host)) !== undefined };
  } catch (error) {
    throw new Fault("SETTINGS_INVALID", `BERTH_TLS_CERT names ${file}, which is no readable PEM certificate (${(error as Error).message}).`);
  }
}

/** `fetch` that accepts only this certificate. undici's own: Node's has no place for a certificate. */
export async function fetchTrusting({ certificate }: DemoTrust): Promise<typeof fetch> {
  const undici = await import("undici");
  const dispatcher = new undici.Agent({ connect: { ca: certificate, allowPartialTrustChain: true, checkServerIdentity: () => undefined } });
  return ((url: string, init: object) => undici.fetch(url, { ...init, dispatcher })) as unknown as typeof fetch;
}
