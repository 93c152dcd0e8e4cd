import type { Settings } from "./settings.ts";

/** Whether a setting limits the number or the size of images in all, which a publish and a push have to obey. */
export function hasImageQuota({
  image: { userCount, userMb, packageCount, packageMb },
}: {
  image: Pick<Settings["image"], "userCount" | "userMb" | "packageCount" | "packageMb">;
}): boolean {
  return [userCount, userMb, packageCount, packageMb].some((limit) => limit !== undefined);
}
