"""The messages of errors for people, by status, in each language of `languages.LOCALES`."""

from __future__ import annotations

from collections.abc import Mapping


def text(status: int, locale: str) -> str:
    """Return the text for a status in a locale, which is one of `LOCALES`.

    A status without a text of its own has that of 400 or 500.
    """
    texts = _TEXTS[locale]
    return texts.get(status) or texts[500 if status >= 500 else 400]


_TEXTS: Mapping[str, Mapping[int, str]] = {
    # Those of 400, 403 and 500 are the management API's own words.
    "en-US": {
        400: "The request was syntactically correct but its content is semantically invalid.",
        403: "The server understood the request but refuses to authorize it.",
        404: "The server did not find a current representation for the target resource.",
        405: "The method is not supported by the target resource.",
        409: "The request conflicts with the current state of the target resource.",
        413: "The content of the request is larger than the server is willing to process.",
        415: "The content of the request is in a format that the target resource does not support.",
        429: "Too many requests were sent in a given amount of time.",
        500: "An internal fault occurred.",
        503: "The service is temporarily unavailable. Try again later.",
    },
    "de": {
        400: "Die Anfrage war syntaktisch korrekt, aber ihr Inhalt ist semantisch ungültig.",
        403: "Der Server hat die Anfrage verstanden, verweigert aber die Autorisierung.",
        404: "Der Server hat die angeforderte Ressource nicht gefunden.",
        405: "Die angeforderte Ressource unterstützt diese Methode nicht.",
        409: "Die Anfrage steht im Widerspruch zum aktuellen Zustand der Ressource.",
        413: "Der Inhalt der Anfrage ist größer, als der Server verarbeiten will.",
        415: "Die angeforderte Ressource unterstützt das Format des Inhalts der Anfrage nicht.",
        429: "In einem bestimmten Zeitraum wurden zu viele Anfragen gesendet.",
        500: "Ein interner Fehler ist aufgetreten.",
        503: "Der Dienst ist vorübergehend nicht verfügbar. Versuchen Sie es später erneut.",
    },
    "fr": {
        400: "La requête est syntaxiquement correcte, mais son contenu est sémantiquement invalide.",
        403: "Le serveur a compris la requête, mais refuse de l'autoriser.",
        404: "Le serveur n'a pas trouvé la ressource demandée.",
        405: "La ressource demandée ne prend pas en charge cette méthode.",
        409: "La requête est en conflit avec l'état actuel de la ressource.",
        413: "Le contenu de la requête est plus volumineux que ce que le serveur accepte de traiter.",
        415: "Le contenu de la requête est dans un format que la ressource ne prend pas en charge.",
        429: "Trop de requêtes ont été envoyées dans un laps de temps donné.",
        500: "Une erreur interne s'est produite.",
        503: "Le service est temporairement indisponible. Réessayez plus tard.",
    },
    "es": {
        400: "La solicitud es sintácticamente correcta, pero su contenido no es semánticamente válido.",
        403: "El servidor entendió la solicitud, pero se niega a autorizarla.",
        404: "El servidor no encontró el recurso solicitado.",
        405: "El recurso solicitado no admite este método.",
        409: "La solicitud entra en conflicto con el estado actual del recurso.",
        413: "El contenido de la solicitud es mayor de lo que el servidor está dispuesto a procesar.",
        415: "El contenido de la solicitud está en un formato que el recurso no admite.",
        429: "Se enviaron demasiadas solicitudes en un período de tiempo determinado.",
        500: "Se produjo un error interno.",
        503: "El servicio no está disponible temporalmente. Vuelva a intentarlo más tarde.",
    },
    "pt-BR": {
        400: "A solicitação está sintaticamente correta, mas seu conteúdo é semanticamente inválido.",
        403: "O servidor entendeu a solicitação, mas se recusa a autorizá-la.",
        404: "O servidor não encontrou o recurso solicitado.",
        405: "O recurso solicitado não oferece suporte a este método.",
        409: "A solicitação está em conflito com o estado atual do recurso.",
        413: "O conteúdo da solicitação é maior do que o servidor está disposto a processar.",
        415: "O conteúdo da solicitação está em um formato ao qual o recurso não oferece suporte.",
        429: "Muitas solicitações foram enviadas em um determinado período.",
        500: "Ocorreu uma falha interna.",
        503: "O serviço está temporariamente indisponível. Tente novamente mais tarde.",
    },
    "ja": {
        400: "リクエストの構文は正しいですが、内容が意味的に無効です。",
        403: "サーバーはリクエストを理解しましたが、許可を拒否しました。",
        404: "要求されたリソースが見つかりませんでした。",
        405: "要求されたリソースはこのメソッドに対応していません。",
        409: "リクエストがリソースの現在の状態と競合しています。",
        413: "リクエストの内容が、サーバーで処理できる上限を超えています。",
        415: "リクエストの内容が、リソースが対応していない形式です。",
        429: "一定時間内に送信されたリクエストが多すぎます。",
        500: "内部エラーが発生しました。",
        503: "サービスは一時的に利用できません。しばらくしてからもう一度お試しください。",
    },
}
