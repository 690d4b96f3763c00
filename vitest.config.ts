/** How the tests run: files in processes of their own, one Temporal for all, leaks and skips reported. */
import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.{ts,tsx}'],
    globalSetup: ['test/support/temporal-global.ts', 'test/support/docker-global.ts'],
    setupFiles: ['test/support/leaks.ts'],
    pool: 'forks',
    // Most tests wait for servers of their own, which need a core too.
    maxWorkers: availableParallelism() > 2 ? 3 : 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default', './test/support/summary.ts'],
  },
})
