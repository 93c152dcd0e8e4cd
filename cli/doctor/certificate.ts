import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { connect, createSecureContext, type DetailedPeerCertificate } from "node:tls";
import { Fault } from "../../lib/fault.ts";
import { reasonOf } from "../../lib/http-client.ts";
import { type CheckContext, type CheckResult, type CheckProblem, warning, failure } from "./check.ts";

const DAY_MS = 86_400_000;
/** A manual renewal takes some working days. */
const SOON_DAYS = 21;
const RENEW = "Renew it. berth reads its files again when they change.";
const COMPLETE = "Append the intermediate certificates to the same file. For your own CA set NODE_EXTRA_CA_CERTS.";

/** OpenSSL's codes for a chain: https://docs.openssl.org/master/man1/openssl-verification-options/ */
const CHAIN_FAULTS: Readonly<Record<string, CheckProblem>> = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: failure("The served certificate comes without its intermediate certificates.", COMPLETE),
  UNABLE_TO_GET_ISSUER_CERT: failure("The served chain has a gap.", COMPLETE),
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: failure("The served chain ends with a certificate that this machine does not trust.", COMPLETE),
  DEPTH_ZERO_SELF_SIGNED_CERT: failure("The served certificate is self-signed.", "Use one of a CA that browsers trust."),
  SELF_SIGNED_CERT_IN_CHAIN: failure(
    "The served certificate is from a CA that this machine does not trust.",
    "For your own CA set NODE_EXTRA_CA_CERTS.",
  ),
};

/** The edge's certificate files, and the certificate at the public address. */
export async function checkCertificate(chain: CheckContext, signal: AbortSignal): Promise<CheckResult> {
  const { settings, server, clock } = chain;
  const { hostname, protocol } = server.url;
  const host = hostname.replace(/^\[|\]$/g, "");
  const { tlsCert, tlsKey } = settings;
  if (tlsCert === undefined && protocol !== "https:") return { unlooked: "no certificate is set, and the public address has no https" };
  const own = tlsCert === undefined || tlsKey === undefined ? undefined : loadOwnCertificate(tlsCert, tlsKey);
  // Behind a load balancer the edge may have another name: only the certificate at the public address must match.
  const problems = own === undefined ? [] : checkDates(own, clock.now(), `The certificate in ${tlsCert}`);
  if (protocol !== "https:") return { says: `the files are valid for ${daysLeft(own, clock.now())} days`, problems };
  const shown = await loadServedCertificate(server.url, host, signal);
  const which = `The certificate of ${host}`;
  if (own === undefined || !own.raw.equals(shown.leaf.raw)) problems.push(...checkDates(shown.leaf, clock.now(), which));
  if (!isFor(shown.leaf, host)) {
    const names = shown.leaf.subjectAltName ?? shown.leaf.subject;
    problems.push(failure(`${which} is for ${names}, not for ${host}.`, "Use one for this name."));
  }
  // checkDates already reports an expired certificate, with its date.
  const code = shown.fault === "CERT_HAS_EXPIRED" && problems.length > 0 ? undefined : shown.fault;
  if (code !== undefined) problems.push(CHAIN_FAULTS[code] ?? failure(`The served certificate is invalid: ${code}.`, COMPLETE));
  return { says: `${shown.length} in the chain, ${daysLeft(shown.leaf, clock.now())} days left`, problems };
}

/** Faults: CHAIN_BROKEN. */
function loadOwnCertificate(cert: string, key: string): X509Certificate {
  try {
    const pem = readFileSync(cert);
    // Throws if the key does not match the certificate.
    createSecureContext({ cert: pem, key: readFileSync(key) });
    return new X509Certificate(pem);
  } catch (cause) {
    throw new Fault("CHAIN_BROKEN", `${cert} and ${key} cannot be used: ${(cause as Error).message}.`, { cause });
  }
}

function checkDates(certificate: X509Certificate, now: number, which: string): CheckProblem[] {
  const [begin, end] = [certificate.validFrom, certificate.validTo].map((date) => new Date(date));
  const day = (date: Date | undefined) => date?.toISOString().slice(0, 10);
  if (begin !== undefined && begin.getTime() > now) return [failure(`${which} is not valid before ${day(begin)}.`, "Check this machine's clock.")];
  if (end !== undefined && end.getTime() <= now) return [failure(`${which} expired on ${day(end)}.`, RENEW)];
  const days = daysLeft(certificate, now);
  return days < SOON_DAYS ? [warning(`${which} expires on ${day(end)}, in ${days} days.`, RENEW)] : [];
}

function isFor(certificate: X509Certificate, host: string): boolean {
  return (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined;
}

function daysLeft(certificate: X509Certificate | undefined, now: number): number {
  return certificate === undefined ? 0 : Math.floor((new Date(certificate.validTo).getTime() - now) / DAY_MS);
}

/** The certificate that a client gets, valid or not. Faults: CHAIN_BROKEN. */
function loadServedCertificate(
  url: URL,
  host: string,
  signal: AbortSignal,
): Promise<{ leaf: X509Certificate; length: number; fault: string | undefined }> {
  return new Promise((resolve, reject) => {
    const port = Number(url.port) || 443;
    const names = isIP(host) === 0 ? { servername: host } : {};
    // Inspected only: no data is sent on this connection.
    const socket = connect({ host, port, ...names, rejectUnauthorized: false, checkServerIdentity: () => undefined }, () => {
      const chain = chainOf(socket.getPeerCertificate(true));
      const leaf = socket.getPeerX509Certificate();
      const code = socket.authorized ? undefined : (socket.authorizationError as unknown as string | undefined);
      socket.destroy();
      if (leaf === undefined) return reject(new Fault("CHAIN_BROKEN", `${url.host} sends no certificate.`));
      resolve({ leaf, length: chain, fault: code });
    });
    signal.addEventListener("abort", () => socket.destroy(), { once: true });
    socket.once("error", (cause) => reject(new Fault("CHAIN_BROKEN", `No TLS connection to ${url.host}: ${reasonOf(cause)}.`, { cause })));
  });
}

/** The length of a chain; the root is its own issuer. */
function chainOf(certificate: DetailedPeerCertificate): number {
  let length = 0;
  for (let one: DetailedPeerCertificate | undefined = certificate, before; one && one !== before; before = one, one = one.issuerCertificate) length++;
  return length;
}
