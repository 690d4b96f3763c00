/** Calls the k8s-plugin service: one address for all models, answers like KServe's version 1. Refuses retries and records. */
import { readPredictAnswer } from '../protocols/kserve-v1.ts'
import { attempt, callHeaders, readDocs } from './call.ts'
import type { HttpClient } from './http.ts'
import type { CallPlatform } from './platform.ts'

export function makeK8s(http: HttpClient): CallPlatform {
  return {
    name: 'k8s',
    lane: 'call',
    async call(request) {
      const answer = await attempt(http, request, {
        method: 'POST',
        path: '/v1/predict',
        headers: callHeaders(request),
        body: `{"model_name":${JSON.stringify(request.target.upstreamName)},"inputs":${request.inputs}}`,
      })
      return readPredictAnswer(answer.text)
    },
    docs: (target, signal) =>
      // The model is named in the body of a GET (specification, 5.2).
      readDocs(http, target, signal, {
        method: 'GET',
        path: '/v1/docs',
        headers: ['content-type', 'application/json'],
        body: JSON.stringify({ model_name: target.upstreamName }),
      }),
    close: () => http.close(),
  }
}
