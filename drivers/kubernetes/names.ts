/** The names of a service's objects. A service's own name holds no dot, so that these are nobody else's. */
export const NAMES = {
  deployment: (service: string) => service,
  service: (service: string) => service,
  variables: (service: string) => `${service}.env`,
  pull: (service: string) => `${service}.pull`,
};

/** A DNS label. Nothing of another name was ever made, so that asking for it needs no cluster, which would not understand the question. */
const SERVICE_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

export function isServiceName(name: string): boolean {
  return SERVICE_NAME.test(name);
}
