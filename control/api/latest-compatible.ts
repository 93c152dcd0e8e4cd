import { mayUseImage } from "../identity/rights.ts";
import { imageRepository, isOfRepository } from "../model/names.ts";
import type { Image } from "../model/entities.ts";
import type { Store } from "../store/open-store.ts";
import { mayManage } from "./rights.ts";

export type Asked = { version?: string | undefined; contentHash?: string | undefined };
export type Compatible = { image: string; hashMatch: boolean };

/**
 * The images of this name that a caller can be offered: in the image's own repository, of packages that the caller may manage and whose author owns that
 * repository. Any other one would run somebody else's program in the caller's container.
 */
export function offeredImages(store: Store, caller: { userId: string; admin: boolean }, name: string): Image[] {
  const where = [{ columns: ["name"], holds: "is", value: name }] as const;
  return store.images.some(store.images.ids({ where })).filter(({ packageId, name: image, ref }) => {
    const authorId = store.packages.find(packageId)?.authorId;
    const isOwners = authorId !== undefined && mayUseImage(store, { id: authorId, admin: false }, image);
    return isOwners && mayManage(store, caller, packageId) && isOfRepository(ref, imageRepository(image));
  });
}

/**
 * Which of an image's published versions a package can run instead of building it, so that an unchanged folder is not built again and a
 * package without Docker at hand runs what there is. One that was built from the same content serves any version; else the same version, else
 * the newest earlier one of the same major and minor. A debug publish asks with its developer's login in place of a version, and may have
 * any; a release is never given a developer's own tag, which may change under it. `images` are those of one name.
 */
export function latestCompatible(images: readonly Image[], { version, contentHash }: Asked): Compatible | undefined {
  const asked = readVersion(version);
  const ready = images.filter(({ state, mutable }) => state === "READY" && !(mutable && asked));
  const newest = ready.toSorted((a, b) => Number(a.mutable) - Number(b.mutable) || b.updatedOn - a.updatedOn);
  const same = newest.find((image) => contentHash !== undefined && isBuiltFrom(image, contentHash));
  if (same) return { image: same.ref, hashMatch: true };
  const near = asked ? newestEarlier(newest, asked) : (newest.find(({ ref }) => ref.endsWith(`:${version}`)) ?? newest[0]);
  return near && { image: near.ref, hashMatch: false };
}

/** A release's tag ends with the start of its content's hash as its client saw it, which may hold files that were not sent. */
function isBuiltFrom({ contentHash, ref, mutable }: Image, asked: string): boolean {
  return contentHash === asked || (!mutable && asked.length >= 8 && ref.endsWith(`.${asked.slice(0, 8)}`));
}

type Version = { major: number; minor: number; patch: number };

function readVersion(text: string | undefined): Version | undefined {
  const [whole, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)(?![\d])/.exec(text ?? "") ?? [];
  return whole === undefined ? undefined : { major: Number(major), minor: Number(minor), patch: Number(patch) };
}

function newestEarlier(images: readonly Image[], { major, minor, patch }: Version): Image | undefined {
  const line = images.flatMap((image) => {
    const version = readVersion(image.version);
    return version && version.major === major && version.minor === minor && version.patch <= patch ? [{ image, patch: version.patch }] : [];
  });
  return line.toSorted((a, b) => b.patch - a.patch)[0]?.image;
}
