/**
 * The image of conf/docker/Dockerfile's stage `berth`, without a container engine: the executable, what it is linked with, and the configuration of that
 * stage. It becomes one file, an OCI image layout, which `docker load` reads too.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type ArchiveEntry, type BlobId, blobIdOf, type FileBytes, withFolders, writeTar } from "./tar.ts";
import { debianArchitecture, type SystemLibrary } from "./materials.ts";

const ROOT = join(import.meta.dirname, "../..");
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const CONFIG = "application/vnd.oci.image.config.v1+json";
/** The same user as in the Dockerfile. */
const USER = 10_001;

type OciDescriptor = BlobId & { mediaType: string; annotations?: Record<string, string> };

/** A document about an image, which a registry lists as its referrer (OCI Distribution 1.1). */
export type Referrer = {
  artifactType: string;
  /** A configuration only where the reader expects one. */
  config?: object;
  layers: readonly { mediaType: string; bytes: Uint8Array; annotations?: Record<string, string> }[];
  annotations?: Record<string, string>;
};

export type ReleaseImage = {
  digest: string;
  addReferrer(referrer: Referrer): void;
  /** Writes the file. `name` is what `docker load` calls the image. */
  write(target: string, name: { repository: string; tag: string }): Promise<void>;
};

/** Makes the image's layers in the folder `work`. */
export async function createImage(options: {
  work: string;
  program: string;
  libraries: readonly SystemLibrary[];
  version: string;
  epoch: number;
  commit: string;
  licences: string;
}): Promise<ReleaseImage> {
  const { work, epoch, version, commit } = options;
  const blobs = new Map<string, FileBytes>();
  const addBytes = (mediaType: string, bytes: Uint8Array): OciDescriptor => {
    const id = blobIdOf(bytes);
    blobs.set(id.digest, bytes);
    return { mediaType, ...id };
  };
  const addJson = (mediaType: string, value: object) => addBytes(mediaType, Buffer.from(JSON.stringify(value)));

  // Libraries change seldom: their layer is the same in many versions.
  const folders = { system: systemFiles(options.libraries), program: programFiles(options) };
  const layers = await Promise.all(
    Object.entries(folders).map(async ([name, entries]) => {
      const file = join(work, `${name}.tar.gz`);
      const { digest, size, tarDigest } = await writeTar(file, { entries: withFolders(entries), epoch, gzip: true });
      blobs.set(digest, { file });
      return { descriptor: { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest, size }, tarDigest, name };
    }),
  );
  const created = new Date(epoch * 1_000).toISOString();
  const platform = { architecture: debianArchitecture(), os: "linux" };
  const annotations = {
    "org.opencontainers.image.title": "berth",
    "org.opencontainers.image.description": "starts plugin containers on demand, and stops them when idle",
    "org.opencontainers.image.version": version,
    "org.opencontainers.image.revision": commit,
    "org.opencontainers.image.created": created,
    "org.opencontainers.image.licenses": "MIT",
  };
  const config = addJson(CONFIG, {
    created,
    ...platform,
    config: { ...stageConfig(readFileSync(join(ROOT, "conf/docker/Dockerfile"), "utf8")), Labels: annotations },
    rootfs: { type: "layers", diff_ids: layers.map(({ tarDigest }) => tarDigest) },
    history: layers.map(({ name }) => ({ created, created_by: `npm run release: ${name}` })),
  });
  const manifest = addJson(MANIFEST, {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config,
    layers: layers.map(({ descriptor }) => descriptor),
    annotations,
  });

  const referrers: object[] = [];
  return {
    digest: manifest.digest,
    addReferrer: ({ artifactType, config: own, layers: parts, annotations: about = {} }) => {
      const referrer = addJson(MANIFEST, {
        schemaVersion: 2,
        mediaType: MANIFEST,
        artifactType,
        config: own === undefined ? addJson("application/vnd.oci.empty.v1+json", {}) : addJson(CONFIG, own),
        layers: parts.map(({ mediaType, bytes, annotations: marks }) => ({ ...addBytes(mediaType, bytes), ...(marks && { annotations: marks }) })),
        subject: manifest,
        annotations: { "org.opencontainers.image.created": created, ...about },
      });
      referrers.push({ ...referrer, artifactType });
    },
    write: async (target, { repository, tag }) => {
      const names = { "org.opencontainers.image.ref.name": tag, "io.containerd.image.name": `docker.io/library/${repository}:${tag}` };
      const index = {
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.index.v1+json",
        manifests: [{ ...manifest, platform, annotations: names }, ...referrers],
      };
      const place = (digest: string) => `blobs/sha256/${digest.slice("sha256:".length)}`;
      // Docker's engine reads this one where it has no image store of containerd's.
      const forDocker = [
        { Config: place(config.digest), RepoTags: [`${repository}:${tag}`], Layers: layers.map(({ descriptor }) => place(descriptor.digest)) },
      ];
      const files: Record<string, object> = { "oci-layout": { imageLayoutVersion: "1.0.0" }, "index.json": index, "manifest.json": forDocker };
      const entries: ArchiveEntry[] = [
        ...Object.entries(files).map(([path, value]) => ({ path, mode: 0o644, content: Buffer.from(JSON.stringify(value)) })),
        ...[...blobs].map(([digest, content]) => ({ path: place(digest), mode: 0o644, content })),
      ];
      await writeTar(target, { entries: withFolders(entries), epoch });
    },
  };
}

/** The stages `system` of the Dockerfile, and what scanners of images read. */
function systemFiles(libraries: readonly SystemLibrary[]): ArchiveEntry[] {
  const text = (path: string, content: string): ArchiveEntry => ({ path, mode: 0o644, content: Buffer.from(content) });
  const packages = new Map(libraries.map((one) => [one.package, one]));
  return [
    ...libraries.map(({ path, file }) => ({ path: path.slice(1), mode: 0o755, content: { file } })),
    text("etc/passwd", `root:x:0:0::/:/\nberth:x:${USER}:${USER}::/var/lib/berth:/\n`),
    text("etc/group", `root:x:0:\nberth:x:${USER}:\n`),
    { path: "etc/os-release", mode: 0o644, content: { file: "/etc/os-release" } },
    { path: "tmp", mode: 0o1777, content: "folder" },
    ...["var/lib/berth", "var/cache/berth"].map((path) => ({ path, mode: 0o700, owner: USER, content: "folder" as const })),
    ...[...packages.values()].flatMap(({ package: name, version }) => [
      // As in distroless images, where scanners look for packages.
      text(`var/lib/dpkg/status.d/${name}`, `Package: ${name}\nVersion: ${version}\nArchitecture: ${debianArchitecture()}\n`),
      { path: `usr/share/doc/${name}/copyright`, mode: 0o644, content: { file: `/usr/share/doc/${name}/copyright` } },
    ]),
  ];
}

function programFiles({ program, licences }: { program: string; licences: string }): ArchiveEntry[] {
  return [
    { path: "usr/local/bin/berth", mode: 0o755, content: { file: program } },
    { path: "usr/share/doc/berth/LICENSE", mode: 0o644, content: { file: join(ROOT, "LICENSE") } },
    { path: "usr/share/doc/berth/THIRD-PARTY-LICENSES.txt", mode: 0o644, content: Buffer.from(licences) },
  ];
}

const NANOSECONDS = 1e9;

/** What the stage `berth` says, as the image's configuration: the Dockerfile has it once. Throws for an instruction that it does not know. */
export function stageConfig(dockerfile: string): Record<string, unknown> {
  const stage = /^FROM scratch AS berth\n([^]*?)\n\n/m.exec(dockerfile)?.[1] ?? "";
  const env: string[] = [];
  const config: Record<string, unknown> = { Env: env };
  const keys = (words: string, suffix = "") => Object.fromEntries(words.split(" ").map((word) => [`${word}${suffix}`, {}]));
  const readers: Record<string, (words: string) => void> = {
    ENV: (words) => void env.push(...words.split(" ")),
    WORKDIR: (words) => void (config["WorkingDir"] = words),
    USER: (words) => void (config["User"] = words),
    STOPSIGNAL: (words) => void (config["StopSignal"] = words),
    VOLUME: (words) => void (config["Volumes"] = keys(words)),
    EXPOSE: (words) => void (config["ExposedPorts"] = keys(words, "/tcp")),
    ENTRYPOINT: (words) => void (config["Entrypoint"] = JSON.parse(words)),
    // Docker's own field, which other engines ignore.
    HEALTHCHECK: (words) => void (config["Healthcheck"] = readHealthcheck(words)),
    // Layers have these files.
    COPY: (words) => {
      if (!/^--from=system (?:--chown=10001:10001 )?\/(?:system \/|folders \/var)$/.test(words))
        throw new Error(`conf/release/image.ts does not know COPY ${words}`);
    },
  };
  for (const line of stage.split("\n")) {
    const [, keyword = "", words = ""] = /^([A-Z]+) (.+)$/.exec(line) ?? [];
    const read = readers[keyword];
    if (!read) throw new Error(`conf/release/image.ts does not know this line of conf/docker/Dockerfile: ${line}`);
    read(words);
  }
  return config;
}

function readHealthcheck(words: string): object {
  const seconds = (name: string) => Number(new RegExp(`--${name}=(\\d+)s`).exec(words)?.[1]) * NANOSECONDS;
  const command = JSON.parse(words.slice(words.indexOf("["))) as string[];
  return { Test: ["CMD", ...command], Interval: seconds("interval"), Timeout: seconds("timeout"), StartPeriod: seconds("start-period") };
}
