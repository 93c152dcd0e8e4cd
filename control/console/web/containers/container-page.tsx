import type { Container } from "../entities.ts";
import { useEntity } from "../live-feed.tsx";
import { linkTo } from "../location.ts";
import { FailedPage, Failure, Loading, Status } from "../parts/display.tsx";
import { usePageTitle } from "../parts/page-title.ts";
import { TabBar } from "../parts/tabs.tsx";
import { ContainerActions, mayManage } from "./container-actions.tsx";
import { CONTAINER_TABS } from "./container-tabs.tsx";
import { useShellAccess } from "./shell.tsx";

/** `tab`: the name of one of `CONTAINER_TABS`; undefined: the first. */
export function ContainerPage({ id, tab }: { id: string; tab: string | undefined }) {
  const { value: container, error, reload } = useEntity<Container>("container", id);
  const hasShell = useShellAccess(id, container !== undefined && mayManage(container), container?.status ?? "");
  usePageTitle(container?.name ?? "Container", container?.status);
  if (!container)
    return error ? (
      <FailedPage title="Container" list={{ title: "Containers", href: linkTo("containers") }} error={error} onRetry={reload} />
    ) : (
      <Loading />
    );
  const tabs = CONTAINER_TABS.filter((one) => (!one.managersOnly || mayManage(container)) && (!one.needsShell || hasShell));
  const current = tabs.find(({ name }) => name === tab) ?? tabs[0];
  return (
    <>
      <p class="trail">
        <a href={linkTo("containers")}>Containers</a> /
      </p>
      <div class="page-head">
        <h1>
          {container.name} <Status status={container.status} />
        </h1>
        <ContainerActions container={container} onDone={reload} />
      </div>
      <Failure error={error} onRetry={reload} />
      <TabBar
        label="Container"
        current={current?.name ?? ""}
        tabs={tabs.map(({ name, title }, index) => ({ name, title, href: index === 0 ? linkTo("containers", id) : linkTo("containers", id, name) }))}
      />
      {current?.page({ container })}
    </>
  );
}
