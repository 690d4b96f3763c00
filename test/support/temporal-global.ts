/**
 * Gives the whole test run one Temporal server, in memory; or the one that TEMPORAL_ADDRESS names. Tests that kill a
 * server start their own from `temporalCli`.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { stopOrphan } from '../../dev/orphan.ts'
import { findTemporal, type TemporalBinary } from '../../dev/temporal-binary.ts'
import { startTemporal } from '../../dev/temporal-server.ts'

declare module 'vitest' {
  export interface ProvidedContext {
    /** `host:port` of the run's server; its namespace `default` has Perdure's search attributes. */
    temporalAddress: string
    /** Executable of the Temporal CLI; empty when TEMPORAL_ADDRESS is set and none was found. */
    temporalCli: string
  }
}

/** Events after which a workflow is told to go on in a next run: an eighth of the default, so that a test gets there. */
const dynamicConfig = { 'limit.historyCount.suggestContinueAsNew': 512 }
const folderPrefix = 'perdure-test-temporal-'

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const binary = await find()
  project.provide('temporalCli', binary?.path ?? '')
  if (process.env.TEMPORAL_ADDRESS || !binary) {
    project.provide('temporalAddress', process.env.TEMPORAL_ADDRESS ?? '')
    return async () => {}
  }
  await stopLeftBehind()
  const folder = mkdtempSync(join(tmpdir(), folderPrefix))
  const files = { logFile: join(folder, 'temporal.log'), pidFile: join(folder, 'temporal.pid') }
  const server = await startTemporal({ binary: binary.path, headless: true, dynamicConfig, ...files })
  project.provide('temporalAddress', server.address)
  return async () => {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function find(): Promise<TemporalBinary | undefined> {
  try {
    return await findTemporal({ env: process.env, say: (line) => console.error(line) })
  } catch (error) {
    if (process.env.TEMPORAL_ADDRESS) return undefined
    throw error
  }
}

/** The server of a run that was killed. */
async function stopLeftBehind(): Promise<void> {
  for (const name of readdirSync(tmpdir()).filter((entry) => entry.startsWith(folderPrefix))) {
    const folder = join(tmpdir(), name)
    if ((await stopOrphan(join(folder, 'temporal.pid'))) === 'stopped')
      rmSync(folder, { recursive: true, force: true })
  }
}
