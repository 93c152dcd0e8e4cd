import type { PushCheckRequest } from "../../../gateway/contract.ts";
import { imageOfRef, imageOfRepository, repositoryOwner } from "../../identity/rights.ts";
import type { ImagePolicy } from "../../lifecycle/image-policy.ts";
import { nameKey } from "../../model/names.ts";
import type { Store } from "../../store/open-store.ts";

type PushQuotaDeps = {
  store: Pick<Store, "images" | "packages" | "repositories" | "groups" | "users">;
  imagePolicy: Pick<ImagePolicy, "requirePush">;
};

/**
 * Whether the registry may store an image: as if its package were published with it. It counts for the author of the package that owns the repository, else for
 * its owner or who pushes it first. Faults: PUSH_REFUSED, REGISTRY_UNREACHABLE.
 */
export async function requirePush({ store, imagePolicy }: PushQuotaDeps, push: PushCheckRequest, signal: AbortSignal): Promise<void> {
  const { repository, reference, by, sizeBytes } = push;
  const image = imageOfRepository(repository);
  const owner = image === undefined ? undefined : await repositoryOwner(store, image);
  const author = owner?.userId ?? (by === undefined ? undefined : (await store.users.byLogin(by))?.id);
  if (author === undefined) return;
  const packageId = owner?.packageName === undefined ? undefined : (await store.packages.byName(owner.packageName))?.id;
  const key = nameKey(image ?? repository);
  const others = (await store.images.ofAuthor(author)).filter(({ ref }) => nameKey(imageOfRef(ref) ?? "") !== key);
  await imagePolicy.requirePush(
    {
      ref: `${repository}${reference.includes(":") ? "@" : ":"}${reference}`,
      sizeBytes,
      author,
      packageName: owner?.packageName,
      ofPackage: others.filter((one) => one.packageId === packageId),
      ofOthers: others.filter((one) => one.packageId !== packageId),
    },
    signal,
  );
}
