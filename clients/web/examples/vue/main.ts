import { createApp } from "vue";
import { openSession, service } from "../session.ts";
import App from "./App.vue";

createApp(App, { service, session: await openSession() }).mount("#app");
