/** A manifest, or an index of several, as far as people look at it. Sizes are bytes as they are stored. */
export type StoredImage = {
  digest: string;
  mediaType: string;
  /** Its layers and configuration; of an index, all that it lists. */
  size: number;
  /** When it was built, as its configuration says; reproducible builds say 1970. */
  createdOn: string | undefined;
  /** `linux/amd64`; of an index undefined. */
  platform: string | undefined;
  layers: { digest: string; size: number }[];
  /** Of an index: the images in it. */
  images: { digest: string; size: number; platform: string }[];
};

/**
 * What lies in the registry behind, asked by the API that every registry has (OCI Distribution Specification).
 * Faults of each: PULL_DENIED, REGISTRY_UNREACHABLE, REGISTRY_TIMED_OUT, UPSTREAM_CREDENTIAL_FAILED.
 */
export type RegistryBrowser = {
  /** Names of repositories, at most ten thousand. */
  repositories(signal: AbortSignal): Promise<string[]>;
  /** Undefined where there is no such repository. */
  tags(repository: string, signal: AbortSignal): Promise<string[] | undefined>;
  /** What a tag or digest points at; undefined where it is not there. */
  image(repository: string, reference: string, signal: AbortSignal): Promise<StoredImage | undefined>;
  /** Deletes an image with all its tags; false where it is not there. Faults: REGISTRY_REFUSED too, where the registry deletes nothing. */
  remove(repository: string, digest: string, signal: AbortSignal): Promise<boolean>;
  close(): Promise<void>;
};
