/** Calls model servers that speak a V2 protocol directly: mlrun's and ours, or open inference. Refuses retries and records. */
import { mlrunNotReady, mlrunPaths, readMlrunAnswer, withRequestId } from '../protocols/mlrun-v2.ts'
import { generateStreamPath, openInferencePaths, readInferAnswer } from '../protocols/open-inference.ts'
import { attempt, callHeaders, measuredTime, readDocs, requireSegment } from './call.ts'
import { streamTextOutputs } from './call-stream.ts'
import type { HttpClient } from './http.ts'
import type { CallPlatform, CallRequest, CallResult } from './platform.ts'

export function makeV2(http: HttpClient): CallPlatform {
  return {
    name: 'v2',
    lane: 'call',
    call: (request) => call(http, request),
    stream: (request) => {
      const { target } = request
      return streamTextOutputs(http, request, {
        path: generateStreamPath(requireSegment(target.upstreamName), target.version),
        headers: [...callHeaders(request), 'accept', 'text/event-stream'],
        body: withRequestId(request.inputs, request.id).body,
        busyStatuses: target.protocol === 'oip' ? [] : mlrunNotReady,
      })
    },
    docs: (target, signal) =>
      readDocs(http, target, signal, {
        method: 'GET',
        path: openInferencePaths.model(requireSegment(target.upstreamName), target.version),
        headers: [],
      }),
    close: () => http.close(),
  }
}

async function call(http: HttpClient, request: CallRequest): Promise<CallResult> {
  const { target } = request
  const isMlrun = target.protocol !== 'oip'
  const paths = isMlrun ? mlrunPaths : openInferencePaths
  const { body, id } = withRequestId(request.inputs, request.id)
  const startMs = performance.now()
  const answer = await attempt(
    http,
    request,
    {
      method: 'POST',
      path: paths.infer(requireSegment(target.upstreamName), target.version),
      headers: callHeaders(request),
      body,
    },
    isMlrun ? mlrunNotReady : [],
  )
  const runningTime = measuredTime(startMs)
  const outputs = isMlrun ? readMlrunAnswer(answer.text, id) : readInferAnswer(answer.text, id)
  return { outputs, runningTime }
}
