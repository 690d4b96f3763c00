/** Calls KServe, protocol V1 or V2, through its gateway. Owns the `Host` header and the form of model names; refuses retries and records. */
import { ServiceError } from '../contracts/errors.ts'
import { kserveV1Paths, readPredictAnswer } from '../protocols/kserve-v1.ts'
import { openInferencePaths, readInferAnswer, withRequestId } from '../protocols/open-inference.ts'
import { attempt, callHeaders, measuredTime, readDocs } from './call.ts'
import { streamObjects } from './call-stream.ts'
import type { HttpClient } from './http.ts'
import type { CallPlatform, CallRequest, CallResult } from './platform.ts'
import { compareVersions } from './versions.ts'

export interface KserveOptions {
  namespace: string
  customDomain: string
  /** KServe's own version: up to 0.10.2 models stream with `:generate`, later ones with `:predict`. */
  version: string
}

const lastWithGenerate = '0.10.2'

// The name becomes part of a URL and of the Host header.
const modelName = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/

/** Whether KServe can serve a model of this name; anything else is a 400 before any call. */
export function isKserveModelName(name: string): boolean {
  return modelName.test(name)
}

export function makeKserve(
  http: HttpClient,
  { namespace, customDomain, version }: KserveOptions,
): CallPlatform {
  const hostOf = (model: string) => `${model}.${namespace}.${customDomain}`
  return {
    name: 'kserve',
    lane: 'call',
    async call(request) {
      const host = hostOf(requireModelName(request.target.upstreamName))
      return request.target.protocol === 'v2' ? callV2(http, request, host) : callV1(http, request, host)
    },
    async *stream(request) {
      const model = requireModelName(request.target.upstreamName)
      if (request.target.protocol === 'v2') {
        throw new ServiceError('platform_unsupported', 'the open inference protocol has no streams', {
          legacyCode: 20006,
        })
      }
      const hasGenerate = compareVersions(version, lastWithGenerate) <= 0
      yield* streamObjects(http, request, {
        path: hasGenerate ? kserveV1Paths.generate(model) : kserveV1Paths.predict(model),
        headers: callHeaders(request, hostOf(model)),
        body: request.inputs,
      })
    },
    async docs(target, signal) {
      const model = requireModelName(target.upstreamName)
      const path = target.protocol === 'v2' ? openInferencePaths.model(model) : kserveV1Paths.docs(model)
      return readDocs(http, target, signal, { method: 'GET', path, headers: ['host', hostOf(model)] })
    },
    close: () => http.close(),
  }
}

async function callV1(http: HttpClient, request: CallRequest, host: string): Promise<CallResult> {
  const answer = await attempt(http, request, {
    method: 'POST',
    path: kserveV1Paths.predict(request.target.upstreamName),
    headers: callHeaders(request, host),
    body: request.inputs,
  })
  return readPredictAnswer(answer.text)
}

async function callV2(http: HttpClient, request: CallRequest, host: string): Promise<CallResult> {
  const { body, id } = withRequestId(request.inputs, request.id)
  const startMs = performance.now()
  const answer = await attempt(http, request, {
    method: 'POST',
    path: openInferencePaths.infer(request.target.upstreamName, request.target.version),
    headers: callHeaders(request, host),
    body,
  })
  const runningTime = measuredTime(startMs)
  return { outputs: readInferAnswer(answer.text, id), runningTime }
}

function requireModelName(name: string): string {
  if (!isKserveModelName(name)) {
    throw new ServiceError('invalid_input', 'model_name is not a KServe model name', { legacyCode: 20002 })
  }
  return name
}
