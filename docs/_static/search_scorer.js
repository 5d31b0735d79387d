/* How the search orders its results: pages that teach before pages that look up, and those before
   records. The figures below `score` are Sphinx's own. */
var Scorer = {
  score: function (result) {
    var page = result[0];
    if (page === "start/questions") return result[4] + 25;
    if (page === "how-to/llm") return result[4]; // long enough to have every word
    var first = { start: 12, tutorials: 4, "how-to": 8, explanation: 4, decisions: -20 };
    var last = ["changes", "contributing", "explanation/design", "reference/rules"];
    return result[4] + (last.indexOf(page) >= 0 ? -15 : first[page.split("/")[0]] || 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
