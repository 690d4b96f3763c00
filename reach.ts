/** Whether what a process needs can be reached now, one verdict each: Temporal, store, files, platforms, mirror. Changes nothing. */
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Connection } from '@temporalio/client'
import { request } from 'undici'
import { type FileSettings, type StoreSettings, type TemporalSettings, temporalConnection } from './config.ts'
import { originOf } from './platforms/call.ts'
import { type RoutingSettings, routingOf } from './platforms/open-routing.ts'
import { surveyStore } from './records/open.ts'

export interface Verdict {
  what: string
  ok: boolean
  /** What was found, or why not; one line, no secrets. */
  words: string
}

/** Parts of the settings; each process has some of them. */
export interface Needs {
  temporal?: TemporalSettings
  /** Temporal is started by the process itself. */
  embeddedTemporal?: object | undefined
  store?: StoreSettings
  files?: FileSettings
  mirror?: { address: string } | undefined
  /** The sample model server that the process starts itself listens there. */
  modelPort?: number
  platform?: RoutingSettings['platform']
  platforms?: RoutingSettings['platforms']
  platformExplicit?: boolean
  modelsFile?: string | undefined
}

const withinMs = 3_000

export async function reachAll(needs: Needs): Promise<Verdict[]> {
  const { temporal, embeddedTemporal, store, files, mirror } = needs
  const asked: Promise<Verdict>[] = []
  if (temporal !== undefined && embeddedTemporal === undefined)
    asked.push(verdict('Temporal', () => reachTemporal(temporal)))
  if (store !== undefined) asked.push(verdict('store', () => surveyStore(store)))
  if (files?.kind === 'folder') asked.push(verdict('files', () => writable(files.dataDir)))
  for (const [name, address] of await platformsOf(needs, asked))
    asked.push(verdict(name, () => answers(originOf(address))))
  if (mirror !== undefined) asked.push(verdict('mirror', () => answers(originOf(mirror.address))))
  return Promise.all(asked)
}

async function verdict(what: string, ask: () => Promise<string>): Promise<Verdict> {
  try {
    return { what, ok: true, words: await ask() }
  } catch (error) {
    return { what, ok: false, words: oneLine(error) }
  }
}

/** The words of the innermost cause: what wraps it is ours and says less. */
function oneLine(error: unknown): string {
  let at = error
  while (at instanceof Error) {
    const inner: unknown = at instanceof AggregateError ? at.errors[0] : at.cause
    if (!(inner instanceof Error)) break
    at = inner
  }
  const details = at instanceof Error && 'details' in at && at.details ? at.details : undefined
  const words = String(details ?? (at instanceof Error ? at.message : at))
  return words.split('\n', 1)[0] || 'no reason is known'
}

async function reachTemporal(settings: TemporalSettings): Promise<string> {
  const { address, namespace } = settings
  const connection = await Connection.connect({ ...temporalConnection(settings), connectTimeout: withinMs })
  try {
    const asked = () => connection.workflowService.describeNamespace({ namespace })
    await connection.withDeadline(Date.now() + withinMs, asked)
    return `${address}, namespace ${namespace}`
  } finally {
    await connection.close()
  }
}

/** Addresses by what they are called; one that several models share once. */
async function platformsOf(
  { platform, platforms, platformExplicit = false, modelsFile, modelPort }: Needs,
  asked: Promise<Verdict>[],
): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  if (platform === undefined || platforms === undefined) return found
  const own = `127.0.0.1:${modelPort}`
  const add = (name: string, address: string) => {
    if (modelPort === undefined || address !== own) found.set(`${name} at ${shown(address)}`, address)
  }
  if (modelsFile === undefined || platformExplicit) add(platform.platform, platform.address)
  try {
    const routing = await routingOf({ platform, platforms, platformExplicit, modelsFile })
    for (const route of routing.list()) add(route.platform, route.address)
  } catch (error) {
    asked.push(verdict('models file', () => Promise.reject(error)))
  }
  return found
}

function shown(address: string): string {
  return address.includes('://') ? new URL(address).host : address
}

/** Whatever it answers: whether a path exists there is the platform's own. */
async function answers(origin: string): Promise<string> {
  const { body } = await request(origin, { signal: AbortSignal.timeout(withinMs) })
  await body.dump()
  return 'answers'
}

async function writable(folder: string): Promise<string> {
  for (let at = folder; ; at = dirname(at)) {
    try {
      await access(at, constants.W_OK)
      return folder
    } catch (error) {
      const absent = error instanceof Error && 'code' in error && error.code === 'ENOENT'
      if (!absent || at === dirname(at)) throw error
    }
  }
}
