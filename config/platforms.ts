/** Settings of where predictions are sent. Refuses limits that contradict each other and providers without a key. */
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import type { Keys, PlatformWord } from './keys.ts'
import type { Reader } from './reader.ts'
import type { Env } from './values.ts'

function platformSettings(read: Reader) {
  return {
    kserve: {
      platform: 'kserve' as const,
      address: read('KSERVE_ADDRESS'),
      customDomain: read('KSERVE_CUSTOM_DOMAIN'),
      namespace: read('KSERVE_NAMESPACE'),
      version: read('KSERVE_VERSION'),
      protocol: read('KSERVE_PROTOCOL'),
      timeoutMs: read('KSERVE_REQUEST_TIMEOUT'),
    },
    k8s: {
      platform: 'k8s' as const,
      address: read('K8SPLUGIN_ADDRESS'),
      timeoutMs: read('K8SPLUGIN_REQUEST_TIMEOUT'),
    },
    v2: {
      platform: 'v2' as const,
      address: read('V2_ADDRESS'),
      protocol: read('V2_PROTOCOL'),
      timeoutMs: read('V2_REQUEST_TIMEOUT'),
    },
    replicate: {
      platform: 'replicate' as const,
      address: read('REPLICATE_ADDRESS'),
      apiKey: read('REPLICATE_APIKEY'),
      modelId: read('REPLICATE_MODEL_ID'),
      timeoutMs: read('REPLICATE_REQUEST_TIMEOUT'),
    },
    runpod: {
      platform: 'runpod' as const,
      address: read('RUNPOD_ADDRESS'),
      apiKey: read('RUNPOD_APIKEY'),
      modelId: read('RUNPOD_MODEL_ID'),
      timeoutMs: read('RUNPOD_REQUEST_TIMEOUT'),
    },
  }
}

/** Settings of every platform by name; a models file may use several. */
export type AllPlatformSettings = Readonly<ReturnType<typeof platformSettings>>
/** Settings of one platform, told apart by `platform`. */
export type PlatformSettings = AllPlatformSettings[PlatformWord]

const timeoutKeys = {
  kserve: 'KSERVE_REQUEST_TIMEOUT',
  k8s: 'K8SPLUGIN_REQUEST_TIMEOUT',
  v2: 'V2_REQUEST_TIMEOUT',
  replicate: 'REPLICATE_REQUEST_TIMEOUT',
  runpod: 'RUNPOD_REQUEST_TIMEOUT',
} as const satisfies Record<PlatformWord, keyof Keys>

/** What a process needs to send predictions somewhere. */
export function predictions(read: Reader, standardPlatform?: PlatformWord, standards: Env = {}) {
  const word = read('ML_PLATFORM', standardPlatform)
  const all = platformSettings(read)
  if (standards.V2_ADDRESS && !read.given('V2_ADDRESS')) all.v2.address = standards.V2_ADDRESS
  const chosen: PlatformSettings = all[word]
  const explicit = read.given('ML_PLATFORM')
  const modelsFile = read('PERDURE_MODELS')
  const taskTimeoutMs = read('TASK_TIMEOUT')
  const concurrency = read('WORKER_CONCURRENCY')
  if (taskTimeoutMs < chosen.timeoutMs) {
    read.fault(
      `TASK_TIMEOUT: ${taskTimeoutMs / 1000} s is shorter than ${timeoutKeys[word]} (${chosen.timeoutMs / 1000} s)`,
    )
  }
  if (word === 'replicate' || word === 'runpod') {
    const prefix = word.toUpperCase()
    if (!all[word].apiKey.given) read.fault(`${prefix}_APIKEY: required for ML_PLATFORM=${word}`)
    if (all[word].modelId === '') read.fault(`${prefix}_MODEL_ID: required for ML_PLATFORM=${word}`)
  }
  return {
    platform: chosen,
    /** With a models file, a name that it lacks goes to `platform` only if this is true. */
    platformExplicit: explicit,
    platforms: all as AllPlatformSettings,
    modelsFile: modelsFile === '' ? undefined : resolve(modelsFile),
    queue: read('TASK_TYPE_NAME'),
    taskTimeoutMs,
    concurrency: concurrency < 1 ? availableParallelism() : concurrency,
  }
}
