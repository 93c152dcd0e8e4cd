/** Who can say what a release was made of: a statement of in-toto with SLSA's provenance, and signatures by cosign. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Referrer } from "./image.ts";
import type { SystemLibrary } from "./materials.ts";
import { blobIdOf } from "./tar.ts";

const PREDICATE = "https://slsa.dev/provenance/v1";
const IN_TOTO = "application/vnd.in-toto+json";

type Subject = { name: string; digest: { sha256: string } };

/** It has no time of the build: the same source gives the same statement. */
export async function createStatement(options: {
  subject: readonly Subject[];
  version: string;
  epoch: number;
  builder: string;
  source: { commit: string; isChanged: boolean };
  lockFile: string;
  libraries: readonly SystemLibrary[];
}): Promise<object> {
  const { subject, version, epoch, builder, source, lockFile, libraries } = options;
  const file = async (path: string) => ({ sha256: await sha256Of(path) });
  const commit =
    source.commit === "unknown" ? [] : [{ name: "source", digest: { gitCommit: source.commit }, annotations: { changes: source.isChanged } }];
  return {
    _type: "https://in-toto.io/Statement/v1",
    subject,
    predicateType: PREDICATE,
    predicate: {
      buildDefinition: {
        buildType: "urn:berth:npm-run-release:1",
        externalParameters: { version },
        internalParameters: { sourceDateEpoch: epoch, platform: `${process.platform}-${process.arch}` },
        resolvedDependencies: [
          ...commit,
          { name: "package-lock.json", digest: await file(lockFile) },
          { name: "node", uri: `pkg:npm/node@${process.versions.node}`, digest: await file(process.execPath) },
          ...(await Promise.all(libraries.map(async ({ path, file: at, purl }) => ({ name: path, uri: purl, digest: await file(at) })))),
        ],
      },
      runDetails: { builder: { id: builder } },
    },
  };
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

/** The statement as one line: in an envelope with its signature (DSSE) if there is a signer. */
export function encodeStatement(statement: object, signer: Signer | undefined): { mediaType: string; bytes: Uint8Array } {
  const body = JSON.stringify(statement);
  if (!signer) return { mediaType: IN_TOTO, bytes: Buffer.from(`${body}\n`) };
  // What DSSE signs: lengths in bytes, so that the two parts cannot be divided otherwise.
  const sig = signer.sign(Buffer.from(`DSSEv1 ${IN_TOTO.length} ${IN_TOTO} ${Buffer.byteLength(body)} ${body}`));
  const envelope = { payloadType: IN_TOTO, payload: Buffer.from(body).toString("base64"), signatures: [{ sig }] };
  return { mediaType: "application/vnd.dsse.envelope.v1+json", bytes: Buffer.from(`${JSON.stringify(envelope)}\n`) };
}

export function statementReferrer(encoded: { mediaType: string; bytes: Uint8Array }): Referrer {
  return { artifactType: IN_TOTO, layers: [encoded], annotations: { "in-toto.io/predicate-type": PREDICATE } };
}

export function billReferrer(bill: Uint8Array): Referrer {
  const mediaType = "application/vnd.cyclonedx+json";
  return { artifactType: mediaType, layers: [{ mediaType, bytes: bill }] };
}

/** A signature as cosign stores it beside an image. */
export function signatureReferrer({ digest, repository }: { digest: string; repository: string }, signer: Signer): Referrer {
  const identity = { "docker-reference": repository };
  const critical = { identity, image: { "docker-manifest-digest": digest }, type: "cosign container image signature" };
  const bytes = Buffer.from(JSON.stringify({ critical, optional: null }));
  return {
    artifactType: "application/vnd.dev.cosign.artifact.sig.v1+json",
    config: { architecture: "", os: "", config: {}, rootfs: { type: "layers", diff_ids: [blobIdOf(bytes).digest] } },
    layers: [
      {
        mediaType: "application/vnd.dev.cosign.simplesigning.v1+json",
        bytes,
        annotations: { "dev.cosignproject.cosign/signature": signer.sign(bytes) },
      },
    ],
  };
}

export type Signer = {
  /** The signature in base64. */
  sign(bytes: Uint8Array): string;
};

/** `key` is what cosign takes: a file, or the address of a key in a vault. `work` is a folder for what is signed. cosign reads COSIGN_PASSWORD. */
export function createSigner(key: string, work: string): Signer {
  return {
    sign: (bytes) => {
      const file = join(work, "to-sign");
      writeFileSync(file, bytes);
      // Without the public log of signatures, which a build without a network does not reach.
      const args = ["sign-blob", "--key", key, "--tlog-upload=false", "--yes", file];
      return execFileSync("cosign", args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
    },
  };
}
