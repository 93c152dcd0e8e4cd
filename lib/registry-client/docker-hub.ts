/** Docker Hub in image names. */
export const HUB_NAME = "docker.io";
/** The host that serves its registry API. */
export const HUB_HOST = "registry-1.docker.io";
const HUB_NAMES = [HUB_NAME, "index.docker.io", "registry.hub.docker.com", "hub.docker.com", HUB_HOST];

/** Whether it is one of Docker Hub's names. */
export function isHub(hostname: string): boolean {
  return HUB_NAMES.includes(hostname);
}
