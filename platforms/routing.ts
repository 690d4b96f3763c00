/** Which platform serves which model. Owns the routing table and the form of model names; refuses to call anything. */
import { readFile } from 'node:fs/promises'
import { parse } from 'yaml'
import { durationMs } from '../contracts/durations.ts'
import { ServiceError } from '../contracts/errors.ts'
import { type GateMode, type ModelLine, ModelsFile } from '../contracts/models.ts'
import { requireSegment } from './call.ts'
import { isKserveModelName } from './kserve.ts'
import type { ModelTarget, PlatformSettings } from './platform.ts'

/** One line of the routing table. */
export interface ModelRoute extends ModelTarget {
  /** Names of versions that may be asked for. */
  versions: readonly string[]
  /** Absent = the deployment's `GATE`. */
  gate?: GateMode
  /** Most calls of one process at once. */
  concurrency?: number
  modelDigest?: string
  imageDigest?: string
}

export interface Routing {
  /**
   * By the model's name, with the version that the record names. Throws `model_unknown`, or `invalid_input` for a name
   * that its platform cannot take.
   */
  resolve(name: string, version?: string): ModelRoute
  /** By Replicate's `version`: a model's name, or one of its versions. */
  resolveVersion(version: string): ModelRoute
  /** By Replicate's `{owner}/{name}`: listed as such, else `name` if the owner is `perdure`. */
  resolveOwned(owner: string, name: string): ModelRoute
  /** The listed models, by name. A fallback platform's models are not known. */
  list(): ModelRoute[]
  /** Replaces the table, or throws and keeps the old one. */
  update(models: ModelsFile): void
}

export interface RoutingOptions {
  /** Platform of `ML_PLATFORM`. */
  fallback?: PlatformSettings
  /** `ML_PLATFORM` was set, so that names a models file lacks go there too. */
  explicitFallback: boolean
  models?: ModelsFile
  /** Defaults of the lines, by platform. */
  platforms?: readonly PlatformSettings[]
}

export function makeRouting(options: RoutingOptions): Routing {
  const { fallback, explicitFallback } = options
  const settings = new Map((options.platforms ?? []).map((each) => [each.platform, each]))
  if (fallback !== undefined) settings.set(fallback.platform, fallback)
  let table = options.models === undefined ? undefined : makeTable(options.models, settings)

  const fallbackRoute = (name: string): ModelRoute => {
    if (fallback === undefined || (table !== undefined && !explicitFallback)) {
      throw new ServiceError('model_unknown', `model ${printable(name)} is unknown`)
    }
    return checked(routeOf(name, { platform: fallback.platform }, fallback))
  }
  const resolve = (name: string, version = '') => {
    const route = table?.byName.get(name) ?? fallbackRoute(name)
    return version === '' ? route : { ...route, version }
  }

  return {
    resolve,
    resolveVersion: (version) => table?.byVersion.get(version) ?? resolve(version),
    resolveOwned(owner, name) {
      const listed = table?.byName.get(`${owner}/${name}`)
      if (listed !== undefined) return listed
      if (owner === 'perdure') return resolve(name)
      // No KServe model has such a name: unknown, not malformed.
      if (fallback?.platform === 'kserve') {
        throw new ServiceError('model_unknown', `model ${printable(`${owner}/${name}`)} is unknown`)
      }
      return fallbackRoute(`${owner}/${name}`)
    },
    list: () => Array.from(table?.byName.values() ?? []),
    update(models) {
      table = makeTable(models, settings)
    },
  }
}

/** Reads a models file, YAML or JSON. Throws `invalid_input` that names every fault; nothing is half read. */
export async function readModelsFile(path: string): Promise<ModelsFile> {
  let content: unknown
  try {
    content = parse(await readFile(path, 'utf8'))
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause)
    throw new ServiceError('invalid_input', `models file ${path}: ${reason}`, { cause })
  }
  const read = ModelsFile.safeParse(content)
  if (read.success) return read.data
  const faults = read.error.issues.map(({ path: at, message }) => `${at.join('.') || 'file'}: ${message}`)
  throw new ServiceError('invalid_input', `models file ${path}: ${faults.join('; ')}`)
}

interface Table {
  byName: Map<string, ModelRoute>
  byVersion: Map<string, ModelRoute>
}

function makeTable(file: ModelsFile, settings: ReadonlyMap<string, PlatformSettings>): Table {
  const byName = new Map<string, ModelRoute>()
  const byVersion = new Map<string, ModelRoute>()
  for (const [name, line] of Object.entries(file.models)) {
    const route = tableRoute(name, line, settings.get(line.platform))
    byName.set(name, route)
    for (const version of route.versions) byVersion.set(version, { ...route, version })
  }
  return { byName, byVersion }
}

function tableRoute(name: string, line: ModelLine, settings: PlatformSettings | undefined): ModelRoute {
  try {
    return checked(routeOf(name, line, settings))
  } catch (cause) {
    const reason = cause instanceof ServiceError ? cause.message : String(cause)
    throw new ServiceError('invalid_input', `models.${printable(name)}: ${reason}`, { cause })
  }
}

const defaultTimeoutMs = 300_000

function routeOf(name: string, line: ModelLine, settings: PlatformSettings | undefined): ModelRoute {
  const address = line.address ?? settings?.address
  if (address === undefined) {
    throw new ServiceError('invalid_input', `address is required for platform ${line.platform}`)
  }
  const timeoutMs = line.timeout === undefined ? undefined : durationMs(String(line.timeout))
  return {
    name,
    version: '',
    platform: line.platform,
    address,
    upstreamName: line.upstream_name ?? upstreamNameOf(name, settings),
    protocol: protocolOf(line, settings),
    timeoutMs: timeoutMs ?? settings?.timeoutMs ?? defaultTimeoutMs,
    versions: (line.versions ?? []).map(String),
    ...(line.gate === undefined ? {} : { gate: line.gate }),
    ...(line.concurrency === undefined ? {} : { concurrency: line.concurrency }),
    ...(line.model_digest === undefined ? {} : { modelDigest: line.model_digest }),
    ...(line.image_digest === undefined ? {} : { imageDigest: line.image_digest }),
  }
}

/** On job platforms the deployment serves one configured model, whatever name the caller uses. */
function upstreamNameOf(name: string, settings: PlatformSettings | undefined): string {
  return settings?.platform === 'replicate' || settings?.platform === 'runpod' ? settings.modelId : name
}

function protocolOf(line: ModelLine, settings: PlatformSettings | undefined): ModelTarget['protocol'] {
  if (line.protocol !== undefined) return line.protocol
  if (settings?.platform === 'kserve' || settings?.platform === 'v2') return settings.protocol
  if (line.platform === 'kserve') return 'v1'
  return line.platform === 'v2' ? 'mlrun' : ''
}

const unprintable = /\p{C}/u

function checked(route: ModelRoute): ModelRoute {
  const { name, platform, upstreamName } = route
  if (name.length > 1024 || unprintable.test(name) || !name.isWellFormed()) {
    throw new ServiceError('invalid_input', 'model_name must be printable and at most 1024 characters')
  }
  if (platform === 'kserve' && !isKserveModelName(upstreamName)) {
    throw new ServiceError(
      'invalid_input',
      'model_name may hold letters, digits, ".", "_" and "-", at most 253, and starts and ends with a letter or digit',
    )
  }
  if (platform === 'v2') requireSegment(upstreamName)
  return route
}

function printable(name: string): string {
  return JSON.stringify(name.length > 100 ? `${name.slice(0, 99)}…` : name)
}
