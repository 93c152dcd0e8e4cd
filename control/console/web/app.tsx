import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { request, RequestError, type RequestState, SESSION_ENDED, type SignInProvider, useRequest, useServerSections } from "./api-client.ts";
import { Administration } from "./administration/administration.tsx";
import { ConnectionBanner } from "./connection-banner.tsx";
import { ContainerList } from "./containers/container-list.tsx";
import { ContainerPage } from "./containers/container-page.tsx";
import { OpenContainer } from "./containers/open-container.tsx";
import type { ConsoleSection, User } from "./entities.ts";
import { EdgeAddress } from "./edge-address.ts";
import { ImageList, ImagePage } from "./images.tsx";
import { LiveFeed } from "./live-feed.tsx";
import { type ConsolePath, useConsolePath } from "./location.ts";
import { OverviewPage } from "./overview/overview-page.tsx";
import { FailedPage, Loading } from "./parts/display.tsx";
import { Dialog } from "./parts/dialog.tsx";
import { LoadedPage } from "./parts/loaded-page.tsx";
import { NoticeBoard } from "./parts/notices.tsx";
import { PackageList, PackagePage } from "./packages.tsx";
import { PageHeader } from "./page-header.tsx";
import { RepositoryList, RepositoryPage } from "./registry.tsx";
import { FinishSignIn, isBackFromProvider, SignIn, SignInForm, signOutAnywhere, watchOtherTabs } from "./sign-in.tsx";

/** The sections of the console: their titles in the navigation, and their pages for the rest of the path. The first one is the start page. */
const SECTIONS: readonly ConsolePage[] = [
  { name: "overview", of: "containers", title: "Overview", page: () => <OverviewPage /> },
  {
    name: "containers",
    title: "Containers",
    page: ([id, tab]) => (id === undefined ? <ContainerList /> : <ContainerPage key={id} id={id} tab={tab} />),
  },
  {
    name: "packages",
    of: "containers",
    title: "Packages",
    page: ([name]) => (name === undefined ? <PackageList /> : <PackagePage key={name} name={name} />),
  },
  { name: "images", title: "Images", page: ([id]) => (id === undefined ? <ImageList /> : <ImagePage key={id} id={id} />) },
  {
    name: "registry",
    title: "Registry",
    page: ([name], context) => (name === undefined ? <RepositoryList {...context} /> : <RepositoryPage key={name} name={name} {...context} />),
  },
  {
    name: "administration",
    of: "stand",
    title: "Administration",
    adminsOnly: true,
    page: (rest, { user }) => <Administration rest={rest} user={user} />,
  },
];

const loadProfile = async () => (await import("./accounts/profile-page.tsx")).ProfilePage;

type ConsolePage = {
  name: ConsoleSection | "overview" | "packages" | "administration";
  /** Shown where the server has this section. Undefined: its own. */
  of?: ConsoleSection;
  title: string;
  /** Hidden for others: the API refuses them. */
  adminsOnly?: true;
  page(rest: ConsolePath, context: PageContext): preact.JSX.Element;
};

type PageContext = { user: User; withContainers: boolean };

function App() {
  const { server, error, reload } = useServerSections();
  // At the same time as the sections: each round trip counts on a slow line.
  const user = useRequest<User>("/users/current");
  if (error && !server) return <UnreachablePage error={error} onRetry={reload} />;
  if (!server) return <Loading />;
  return (
    <EdgeAddress.Provider value={server.edge}>
      {isBackFromProvider() ? (
        <FinishSignIn hasOwnUsers providers={server.providers} />
      ) : (
        <Console names={server.sections} providers={server.providers} state={user} />
      )}
    </EdgeAddress.Provider>
  );
}

type ConsoleProps = { names: readonly ConsoleSection[]; providers: readonly SignInProvider[]; state: RequestState<User> };

function Console({ names, providers, state: { value: user, error, reload } }: ConsoleProps) {
  const [session, setSession] = useState<"signedIn" | "ended" | "signedOut">("signedIn");
  /** Counts sign-ins: each one reads the page again. */
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const end = () => setSession((before) => (before === "signedIn" ? "ended" : before));
    addEventListener(SESSION_ENDED, end);
    return () => removeEventListener(SESSION_ENDED, end);
  }, []);
  const withContainers = names.includes("containers");
  const onSignedIn = () => {
    setSession("signedIn");
    setTurn((last) => last + 1);
    reload();
  };

  const isCurrent = (other: User) => session === "signedIn" && other.login === user?.login;
  const onOtherTab = useRef(() => {});
  // Without a session, the request opens the sign-in form. A page of the same user stays as it is.
  onOtherTab.current = () =>
    void request<User>("/users/current").then(
      (other) => isCurrent(other) || onSignedIn(),
      () => {},
    );
  useEffect(() => watchOtherTabs(() => onOtherTab.current()), []);

  if (session === "signedOut" || (!user && error instanceof RequestError && error.status === 401))
    return <SignIn hasOwnUsers={withContainers} providers={providers} onSignedIn={onSignedIn} />;
  if (error && !user) return <UnreachablePage error={error} onRetry={reload} />;
  if (!user) return <Loading />;

  const signOut = async () => {
    await signOutAnywhere().catch((reason: unknown) => {
      // The session has ended already.
      if (!(reason instanceof RequestError && reason.status === 401)) throw reason;
    });
    setSession("signedOut");
  };
  const page = <Page key={turn} names={names} user={user} onSignOut={signOut} />;
  return (
    <NoticeBoard>
      <ConnectionBanner />
      {/* The feed contains changes of containers and images only. */}
      {withContainers ? (
        <LiveFeed key={turn} isSignedIn={session === "signedIn"}>
          {page}
        </LiveFeed>
      ) : (
        page
      )}
      {session === "ended" ? (
        <Dialog title="Your session has ended">
          <SignInForm hasOwnUsers={withContainers} providers={providers} onSignedIn={onSignedIn} />
        </Dialog>
      ) : null}
    </NoticeBoard>
  );
}

function UnreachablePage(props: { error: Error; onRetry: () => void }) {
  return (
    <main>
      <FailedPage title="berth" {...props} />
    </main>
  );
}

function Page({ names, user, onSignOut }: { names: readonly ConsoleSection[]; user: User; onSignOut(): Promise<void> }) {
  const path = useConsolePath();
  const withContainers = names.includes("containers");
  const sections = SECTIONS.filter(({ name, of = name, adminsOnly }) => names.some((one) => one === of) && (adminsOnly !== true || user.admin));
  // A registry without a control plane has no users of its own.
  const isProfile = path[0] === "profile" && withContainers;
  const section = isProfile ? undefined : (sections.find(({ name }) => name === path[0]) ?? sections[0]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to content
      </a>
      <PageHeader
        sections={sections}
        hasProfile={withContainers}
        current={isProfile ? "profile" : section?.name}
        path={path}
        user={user}
        onSignOut={onSignOut}
      />
      <main id="main" tabIndex={-1}>
        {path[0] === "open" && path[1] !== undefined && withContainers ? (
          <OpenContainer id={path[1]} />
        ) : isProfile ? (
          <LoadedPage title="Profile" load={loadProfile} props={{}} />
        ) : (
          section?.page(path.slice(1), { user, withContainers })
        )}
      </main>
    </>
  );
}

const root = document.getElementById("app");
if (root) render(<App />, root);
