import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page is embedded in the binary and served below /room/.
export default defineConfig({
  base: "/room/",
  plugins: [react()],
  build: { outDir: "dist", emptyOutDir: true, chunkSizeWarningLimit: 1500 },
});
