// What a group expects before it has seen anything: the distributions of fitted photographs and drawings.
// docs/format.md, "Entropy coding".
#pragma once

#include "bitstream/quantize.h"
#include "bitstream/rans.h"

namespace smartsplat {

constexpr int kGapClasses = 8, kStepClasses = 8, kSizeClasses = 10, kLeadBits = 4;
constexpr int kFirstColorClasses = 7, kColorClasses = 8, kShortfallClasses = 6;

// Where each number's contexts begin.
constexpr int kGap = 0;
constexpr int kEnergies = kGap + kGapClasses;
constexpr int kScales = kEnergies + kGapClasses;
constexpr int kRatios = kScales + kStepClasses;
constexpr int kTurns = kRatios + 4 * kSizeClasses;
constexpr int kFirstColor = kTurns + 2 * kLeadBits;
constexpr int kSecondColor = kFirstColor + kFirstColorClasses;
constexpr int kThirdColor = kSecondColor + kColorClasses * kShortfallClasses;
constexpr int kEnergyEscape = kThirdColor + kColorClasses * kShortfallClasses;
constexpr int kScaleEscape = kEnergyEscape + 1;
constexpr int kRatioEscape = kScaleEscape + 1;
constexpr int kColorEscape = kRatioEscape + 1;
constexpr int kContexts = kColorEscape + 1;

// A hexadecimal digit for each token of each context: d stands for a weight of 2^(-5 d / 8).
constexpr char kPriorDigits[] =
    // gap
    "002446689aaccddc0023345779acbccc00122335588aacbb0011122335689aba00110101133568980011010101233666"
    "11221101010213440112121101010222"
    // energy
    "dddb963101369acccccc964100135799cccb863100235788ccca853100235677ccba742100235676ccb8632000134564"
    "bba7531000123454cb97542000123465"
    // scale
    "332110001123467677531000123456887753100012345688775321001234567776532100013456778753210001245677"
    "dddb962002479bccddddda400148cddd"
    // ratio
    "02248eeeeeeeeeee100236ccccdddddd1001347acccccccc10001357abcccccc1001123578aabccc1001123357668bbb"
    "1001233448942bbb1001234458880bbb1011344567773bbb0012345678999bcb02357aeeeeeeeeee0001247ccccccccc"
    "10012468bccccccc110013578abccccc000123455899accc1001123558888ccc1001123437897ccc1100012346788bbb"
    "1100112234677bbb100111234567abbb0136eeeeeeeeeeee0012bbbbbbbbbbbb01356adddddddddd0025758ddddddddd"
    "1002464ccccccccc1012578ddddddddd2102472ddddddddd2001366ccccccccc1001457ccccccccc1012357ccccccccc"
    "0358ffffffffffff0000000000000000026678eeeeeeeeee00000000000000000246878eeeeeeeee0000000000000000"
    "0224663ddddddddd00000000000000003224550ddddddddd1025684bbbbbbbbb"
    // turn
    "01eeeeeeeeeeeeee00eeeeeeeeeeeeee0111dddddddddddd0011dddddddddddd01111111bbbbbbbb00111111bbbbbbbb"
    "00111121112211110233444444444332"
    // first colour
    "06ffffffffffffff02efffffffffffff3015eeeeeeeeeeee6310138ddddddddd865310012348cccc9888764322211220"
    "7766642100001120"
    // second colour
    "08ffffffffffffff00000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "02bfffffffffffff03efffffffffffff0000000000000000000000000000000000000000000000000000000000000000"
    "015adeeeeeeeeeee004adeeeeeeeeeee3039eeeeeeeeeeee000000000000000000000000000000000000000000000000"
    "01469deeeeeeeeee00358ddddddddddd31024bdddddddddd63013cdddddddddd00000000000000000000000000000000"
    "002447addddddddd002447addddddddd1011025ccccccccc9763014ddddddddda864014ddddddddd0000000000000000"
    "10132448addddddd10122458addddddd101212136cccccccb99852014dddddddb9aa54024dddddddad7873014ddddddd"
    "1012122347accccc1012122447accccc10010112137bbbbbbb8b9842026dddddbadbba73026dddddd9dd7863025ddddd"
    "21110101122469aa0012110113379bbb0012111212258bbbbbaabc8732026ddddddbda9962025dddddad9b8a73038ddd"
    // third colour
    "09ffffffffffffff00000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "03dfffffffffffff04ffffffffffffff0000000000000000000000000000000000000000000000000000000000000000"
    "02aeffffffffffff017eeeeeeeeeeeee006deeeeeeeeeeee000000000000000000000000000000000000000000000000"
    "028defffffffffff026adeeeeeeeeeee00269ddddddddddd00249ddddddddddd00000000000000000000000000000000"
    "0159beeeeeeeeeee0158adeeeeeeeeee002458bddddddddd1013369ddddddddd1023379ddddddddd0000000000000000"
    "003569bddddddddd003569acdddddddd00233679cddddddd101213379ccccccc10121227accccccc101112247bbbbbbb"
    "10133569addddddd00233569acdddddd0012134679bccccc1011011225abbbbb10110112369bbbbb11010111256aaaaa"
    "10010113366abbbb00122324579bcccc01222223578bcccc212111011237abbb211212021346bbbb1002000101477aaa"
    // escapes
    "01246eeeeeeeeeee023558adeeeeeeee0114347bbbbbbbbb011226bbbcccdddd";
static_assert(sizeof kPriorDigits == kContexts * kTokens + 1, "");

// The distribution that kTokens such digits stand for.
inline Distribution prior(const char* digits) {
  int64_t before[kTokens + 1] = {};
  for (int token = 0; token < kTokens; ++token) {
    const char c = digits[token];
    const int eighths = -5 * (c <= '9' ? c - '0' : c - 'a' + 10);
    before[token + 1] = before[token] + (kExp2[eighths & 7] >> -(eighths >> 3));
  }
  Distribution d;
  for (int token = 0; token <= kTokens; ++token)
    d.below[token] = static_cast<uint16_t>(token + (kWhole - kTokens) * before[token] / before[kTokens]);
  d.seen = 0;
  return d;
}

struct Priors {
  Distribution contexts[kContexts];
  Priors() {
    for (int context = 0; context < kContexts; ++context) contexts[context] = prior(kPriorDigits + context * kTokens);
  }
};
const Priors priors;

}  // namespace smartsplat
