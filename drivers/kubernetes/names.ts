/** The names of a service's objects. A service's own name holds no dot, so that these are nobody else's. */
export const NAMES = {
  deployment: (service: string) => service,
  service: (service: string) => service,
  variables: (service: string) => `${service}.env`,
  pull: (service: string) => `${service}.pull`,
};
